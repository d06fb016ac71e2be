"""Equal tensors are equal bytes, and bytes are always of finite tensors."""

import pytest
import torch
from safetensors.torch import load

from minimagen.tensor_file import NotFiniteError, tensor_bytes


def test_tensors_come_back_from_their_bytes() -> None:
    tensors = {"b": torch.randn(3, 4), "a": torch.tensor(2), "empty": torch.empty(0, 3)}

    found = load(tensor_bytes(tensors, "test"))

    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_gradients_layout_and_order_change_no_byte() -> None:
    weight, bias = torch.randn(2, 3, 4, 4), torch.randn(5)
    other = {"bias": bias, "weight": weight.to(memory_format=torch.channels_last).requires_grad_()}

    assert tensor_bytes({"weight": weight, "bias": bias}, "one") == tensor_bytes(other, "two")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(NotFiniteError, match=r"weights of step 3: last\.bias is not finite"):
        tensor_bytes({"first": torch.ones(2), "last.bias": torch.tensor([0.0, bad])}, "weights of step 3")
