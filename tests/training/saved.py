"""All of a training state, to be compared bit by bit; shared by tests of saved states. Imports no pytest."""

import torch

from minimagen.training.loop import TrainState


def everything(state: TrainState) -> dict[str, torch.Tensor]:
    """Returns copies of all tensors of a state, by what they are."""
    found = {f"weight {name}": value for name, value in state.network.named_parameters()}
    found |= {f"average {name}": value for name, value in state.ema.tensors.items()}
    for name, parameter in state.network.named_parameters():
        found |= {f"{moment} {name}": value for moment, value in state.optimizer.state[parameter].items()}
    return {name: value.detach().clone() for name, value in found.items()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    """Compares two states bit by bit; the names of what differs are in the error."""
    assert left.keys() == right.keys()
    assert not [name for name, value in left.items() if not torch.equal(value, right[name])]
