import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.encode_ours import EncodeSetting, encoding_step, open_encoder
from benchmarks.ladder import ladders, main
from benchmarks.load_ours import LoadSetting, loading_step
from benchmarks.peers import THE_CASE
from benchmarks.sample_ours import SampleSetting, open_stage, read_setting, sampling_step
from benchmarks.train_ours import section_of, training_step

CPU = torch.device("cpu")
SMALL = replace(THE_CASE, dim=8, base_px=16, super_px=32, batch_size=2, text_dim=16, num_threads=1)


def test_each_rung_keeps_the_switches_below_it() -> None:
    rungs = ladders(2, SMALL)["train"].rungs(())

    last = list(rungs.values())[-1]
    assert rungs["start"] == replace(SMALL, num_null_tokens=256, fused_attention=False)
    assert '"fused_attention": true' in last.text()
    assert (last.num_threads, last.precision) == (2, "bf16")
    assert list(ladders(2)["train"].rungs(["bf16", "compile"])) == ["start", "+ bf16", "+ compile"]


def test_network_of_the_case_is_the_originals() -> None:
    counts = [
        training_step(replace(THE_CASE, stage=stage, num_null_tokens=256, batch_size=1), CPU)[1]
        for stage in ("base", "super")
    ]

    assert counts == [4_365_955, 6_539_299]  # As the original counts itself in its own environment.
    assert section_of(SMALL, "super").low_res_size == 16


def test_sample_setting_survives_the_way_to_a_worker() -> None:
    setting = SampleSetting(SMALL, "dpmpp_2m", 3, 2.0, (0.25, 0.75))

    assert read_setting(setting.text()) == setting


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sampler_goes_on_with_the_next_batch(precision: str) -> None:
    setting = SampleSetting(replace(SMALL, precision=precision), "dpmpp_2m", 3, 2.0)
    stage = open_stage(setting, CPU)

    step = sampling_step(setting, stage, CPU)
    for _ in range(4):
        step()

    assert stage.settings.num_evaluations == 6


@pytest.mark.parametrize("source", ["encoded", "memory", "file"])
def test_loader_assembles_batches(source: str, tmp_path: Path) -> None:
    step = loading_step(LoadSetting(16, 4, source), tmp_path)

    step()
    step()

    assert (tmp_path / "pictures.u8").exists() == (source == "file")


@pytest.mark.parametrize(("batch_tokens", "is_distinct"), [(1, False), (8192, False), (8192, True)])
def test_captions_are_encoded(batch_tokens: int, is_distinct: bool, tmp_path: Path) -> None:
    setting = EncodeSetting("tiny", 8, batch_tokens, is_distinct=is_distinct)

    encoding_step(setting, open_encoder("tiny", tmp_path))()


@pytest.mark.long
def test_ladder_prints_a_table_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)

    main(
        [
            "loader",
            "--only",
            "nothing",
            "--threads",
            "1",
            "--rounds",
            "2",
            "--steps",
            "1",
            "--json",
            f"{tmp_path}/a.json",
        ]
    )

    (row,) = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert (row["rung"], row["times the start"]) == ("start", 1.0)
    assert row["images/cpu-s"] > 0
    assert "images/s" in capsys.readouterr().out
