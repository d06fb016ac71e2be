"""Curves hold the losses of each step and nothing of when they were measured."""

from itertools import count
from pathlib import Path

from minimagen.journal import Journal
from minimagen.training.curves import curves_csv, read_curves


def write(path: Path, start_s: int) -> None:
    times = count(start_s)
    with Journal.open(path, clock=lambda: float(next(times))) as journal:
        journal.append("param", 0, {"dim": 8})
        journal.append("metric", 10, {"train_loss": 0.5, "images_per_s": 3.0 * start_s + 1})
        journal.append("metric", 12, {"learning_rate": 0.1})
        journal.append("metric", 20, {"train_loss": 0.25})
        journal.append("metric", 20, {"validation_loss": 0.3, "seen_loss": 0.2, "validation_loss/0.00-0.25": 0.1})


def test_losses_of_one_step_share_a_line(tmp_path: Path) -> None:
    write(tmp_path / "journal.jsonl", 0)

    curves = read_curves(tmp_path / "journal.jsonl")

    assert curves == {10: {"train_loss": 0.5}, 20: {"train_loss": 0.25, "validation_loss": 0.3, "seen_loss": 0.2}}
    header = "step,train_loss,validation_loss,seen_loss,nearest_ratio,nearest_ratio_held_out"
    assert curves_csv(curves) == f"{header}\n10,0.5,,,,\n20,0.25,0.3,0.2,,\n"


def test_curves_do_not_depend_on_the_clock(tmp_path: Path) -> None:
    for number, start_s in enumerate((0, 5000)):
        write(tmp_path / f"{number}.jsonl", start_s)

    assert read_curves(tmp_path / "0.jsonl") == read_curves(tmp_path / "1.jsonl")
