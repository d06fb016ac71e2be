"""How a network is compiled for a GPU, which the machines of the tests do not have: torch.compile is only asked."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from minimagen.training.ranks import Ranks
from tests.training.small import PLAIN


@pytest.mark.parametrize(
    ("device", "accumulate", "mode"),
    [("cuda", 1, "reduce-overhead"), ("cuda", 2, None), ("cpu", 1, None)],
)
def test_graphs_are_replayed_where_no_gradient_outlives_its_part(
    device: str, accumulate: int, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda network, **settings: asked.append(settings["mode"]) or network)
    monkeypatch.setattr(Accelerator, "device", torch.device(device))
    ranks = Ranks(Accelerator(cpu=True))

    ranks.connect(nn.Linear(1, 1), PLAIN.model_copy(update={"compile": True, "accumulate": accumulate}))

    assert asked == [mode]
