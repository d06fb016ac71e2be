"""The learning curves of a run as a table without times, which is equal for equal trainings.

Reads the journal; knows no training.
"""

from pathlib import Path

from minimagen.journal import read_journal

TRAIN_LOSS, VALIDATION_LOSS, SEEN_LOSS = "train_loss", "validation_loss", "seen_loss"
"""Of the steps since the last report, of held-out pictures, and of as many training pictures measured like those."""
NEAREST_RATIO, HELD_OUT_RATIO = "nearest_ratio", "nearest_ratio_held_out"
"""Medians of ``memorisation.Nearest.ratios``: of drawn pictures, and of the real pictures of the same captions."""
COLUMNS = (TRAIN_LOSS, VALIDATION_LOSS, SEEN_LOSS, NEAREST_RATIO, HELD_OUT_RATIO)


def read_curves(journal: Path) -> dict[int, dict[str, float]]:
    """Returns what was written of ``COLUMNS`` at each step, steps in order.

    Raises:
        JournalError: the journal is corrupt.
    """
    rows: dict[int, dict[str, float]] = {}
    for entry in read_journal(journal):
        if entry.kind == "metric":
            found = {name: float(entry.values[name]) for name in COLUMNS if name in entry.values}
            rows.setdefault(entry.step, {}).update(found)
    return {step: rows[step] for step in sorted(rows) if rows[step]}


def curves_csv(curves: dict[int, dict[str, float]]) -> str:
    """Returns CSV with a line for each step; what was not measured there is empty."""
    lines = [",".join([str(step), *(str(found.get(name, "")) for name in COLUMNS)]) for step, found in curves.items()]
    return "\n".join([",".join(("step", *COLUMNS)), *lines]) + "\n"
