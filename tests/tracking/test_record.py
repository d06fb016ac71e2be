"""Records of runs come back as they were written."""

from pathlib import Path

from minimagen.tracking.record import (
    CascadeRecord,
    StageRecord,
    cascade_folder,
    read_cascade,
    read_stage,
    write_cascade,
    write_stage,
)


def test_the_record_of_a_stage_comes_back(tmp_path: Path) -> None:
    record = StageRecord("ab", "train", "base", "scenes", "0123456789", "ff", 12.5)

    write_stage(tmp_path, record)

    assert read_stage(tmp_path) == record
    assert record.title == "train base 012345"
    assert read_stage(tmp_path / "none") is None


def test_the_first_record_of_a_cascade_stays(tmp_path: Path) -> None:
    folder = cascade_folder(tmp_path, "0123")
    first = CascadeRecord("base16", 1.0, {"base.dim": "8"}, ["metrics.a"])

    write_cascade(folder, first)
    write_cascade(folder, CascadeRecord("base16", 2.0, {"base.dim": "8"}, ["metrics.a"]))

    assert read_cascade(folder) == first
    assert folder == tmp_path / "runs" / "cascade" / "0123"
