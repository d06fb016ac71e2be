import io
import json
from dataclasses import replace

import pytest
import torch

from benchmarks.peer_side.case import gated, read_case
from benchmarks.peers import PAPER_256, THE_CASE
from benchmarks.train_ours import section_of
from minimagen.models.unet import UNet


def test_case_survives_the_way_to_a_worker() -> None:
    case = replace(THE_CASE, stage="cascade", channels_last=True, folder="somewhere")

    assert read_case(case.text()) == case
    assert case.stages == ("base", "super")


def test_gate_lets_a_loop_have_as_many_items_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    output, taken = io.StringIO(), []
    monkeypatch.setattr("sys.stdin", io.StringIO("2\n3\n"))

    for item in gated(output, {"name": "loop"}, iter(range(100)), num_warmup=1):
        taken.append(item)

    facts, *answers = map(json.loads, output.getvalue().splitlines())
    assert taken == list(range(1 + 2 + 3))
    assert facts == {"name": "loop"}
    assert [set(answer) for answer in answers] == [{"wall_s", "cpu_s"}] * 2


@pytest.mark.parametrize(("stage", "num_parameters"), [("base", 215_380_227), ("super", 181_185_411)])
def test_papers_case_is_the_papers_networks(stage: str, num_parameters: int) -> None:
    section = section_of(PAPER_256, stage)

    with torch.device("meta"):
        network = UNet(section.unet, text_dim=PAPER_256.text_dim, has_low_res=stage == "super")

    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters
