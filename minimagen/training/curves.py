"""The learning curves of a run as a table without times, which is equal for equal trainings.

Reads the journal; knows no training.
"""

from pathlib import Path

from minimagen.journal import read_journal

TRAIN_LOSS, VALIDATION_LOSS = "train_loss", "validation_loss"


def read_curves(journal: Path) -> dict[int, dict[str, float]]:
    """Returns the losses written at each step, steps in order.

    Raises:
        JournalError: the journal is corrupt.
    """
    rows: dict[int, dict[str, float]] = {}
    for entry in read_journal(journal):
        if entry.kind == "metric":
            found = {name: float(entry.values[name]) for name in (TRAIN_LOSS, VALIDATION_LOSS) if name in entry.values}
            rows.setdefault(entry.step, {}).update(found)
    return {step: rows[step] for step in sorted(rows) if rows[step]}


def curves_csv(curves: dict[int, dict[str, float]]) -> str:
    """Returns CSV with a line for each step; what was not measured there is empty."""
    columns = (TRAIN_LOSS, VALIDATION_LOSS)
    lines = [",".join([str(step), *(str(found.get(name, "")) for name in columns)]) for step, found in curves.items()]
    return "\n".join([",".join(("step", *columns)), *lines]) + "\n"
