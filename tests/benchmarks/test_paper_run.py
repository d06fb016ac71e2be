import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import paper_run
from benchmarks.peers import THE_CASE


@pytest.mark.long
def test_run_tells_what_each_part_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(paper_run.CASES, "small", replace(THE_CASE, dim=8, base_px=16, super_px=32, text_dim=16))

    paper_run.main(["--case", "small", "--steps", "2", "--precision", "fp32", "--json", f"{tmp_path}/a.json"])

    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [row["part"] for row in rows[:2]] == ["train base", "train super"]
    assert [row["steps"] for row in rows] == [2, 2, 40, 40, 40]
    assert all(row["seconds"] > 0 for row in rows)
    assert "train super" in capsys.readouterr().out
