"""A project's trained cascade before the gate: registered, compared with the champion, promoted or turned down.

Asked again about the same cascade and champion it gives the same answer and changes nothing. Trains nothing.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minimagen.config import Params, load_params
from minimagen.datasets.row_identity import rows_sha256
from minimagen.errors import UserError
from minimagen.evaluation.gate import Decision, NotComparableError, Rule, decide
from minimagen.evaluation.gate_inputs import read_evaluation
from minimagen.files import canonical_json, sha256_bytes
from minimagen.tracking.flat import cascade_hash, experiment_name
from minimagen.tracking.location import has_mlflow
from minimagen.tracking.registry import CHAMPION, Registry, Version

DATA, CURATED = Path("data"), Path("data/curated")
TRAINED_ON = "trained_on"
"""The tag of a version that names what it was trained on, ``training_identity``."""
VERDICT, RECORD, PENDING = "verdict", "record", "pending"
"""Tags that say what the gate decided, and where a retraining has recorded it: ``pending`` until it has."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a candidate."""

    version: int
    compared_with: int | None
    """The champion's version at that time; None where there was none."""
    decision: Decision

    @property
    def word(self) -> Literal["promoted", "rejected"]:
        """In one word, as the tag of the version says it."""
        return "promoted" if self.decision.is_promoted else "rejected"


def registry_of(project: Path, params: Params | None = None) -> Registry:
    """Returns the registry that a project's cascades go to, one for each dataset.

    Raises:
        UserError: mlflow is not installed.
    """
    if not has_mlflow():
        raise UserError("the registry is MLflow's, which is not installed: pip install 'minimagen-pipeline[pipeline]'")
    return Registry(project.resolve(), experiment_name(params or load_params(project / "params.yaml")))


def training_identity(project: Path) -> str:
    """Returns one hash of the curated rows and all parameters but the snapshot's label.

    Raises:
        UserError: stage curate has not finished.
    """
    document = load_params(project / "params.yaml").model_dump(mode="json")
    document["ingest"].pop("snapshot")
    return sha256_bytes(canonical_json([rows_sha256(project / CURATED), document]).encode())


def find_settled(project: Path) -> Version | None:
    """Returns the newest cascade that was trained on a project's curated rows, if all is decided and recorded of it."""
    identity = training_identity(project)
    for version in reversed(registry_of(project).versions()):
        if version.tags.get(TRAINED_ON) == identity and VERDICT in version.tags:
            return None if version.tags.get(RECORD) == PENDING else version
    return None


def register_project(project: Path) -> Version:
    """Registers what lies in a project's data/; what is registered already keeps its version.

    Raises:
        UserError: the cascade is not whole, or mlflow is not installed.
    """
    params = load_params(project / "params.yaml")
    facts = {
        TRAINED_ON: training_identity(project),
        "snapshot": params.ingest.snapshot,
        "cascade": cascade_hash(params),
    }
    return registry_of(project, params).register(project / DATA, facts)


def judge(project: Path, rule: Rule | None = None, *, needs_record: bool = False) -> Verdict:
    """Lets the gate compare a project's cascade with the champion, and promotes it if it is better.

    Args:
        needs_record: whether the verdict is to be recorded elsewhere, which ``settle`` then says was done.

    Raises:
        UserError: the cascade or its evaluation is not whole, or mlflow is not installed.
    """
    registry = registry_of(project)
    candidate, champion = register_project(project), registry.find(CHAMPION)
    if champion is not None and champion.number == candidate.number:
        known = Decision(True, (f"version {candidate.number} is the champion already",))
        return Verdict(candidate.number, champion.number, known)
    decision = _decide(registry, project, candidate, champion, rule)
    verdict = Verdict(candidate.number, champion.number if champion else None, decision)
    pending = {RECORD: PENDING} if needs_record and RECORD not in candidate.tags else {}
    registry.tag(candidate.number, pending | _tags(verdict))
    if decision.is_promoted:
        registry.promote(candidate.number)
    else:
        registry.challenge(candidate.number)
    return verdict


def settle(project: Path, number: int, record: str) -> None:
    """Notes where a version's verdict was recorded."""
    registry_of(project).tag(number, {RECORD: record})


def promote_by_hand(project: Path, number: int) -> Version:
    """Makes a registered version the champion without asking the gate.

    Raises:
        UserError: there is no such version, or mlflow is not installed.
    """
    registry = registry_of(project)
    promoted = registry.promote(number)
    return registry.tag(promoted.number, {VERDICT: "promoted by hand"})


def _decide(
    registry: Registry, project: Path, candidate: Version, champion: Version | None, rule: Rule | None
) -> Decision:
    evaluation = read_evaluation(project / DATA / "eval")
    if candidate.was_withdrawn:
        return Decision(False, (f"version {candidate.number} was champion and was rolled back",))
    if champion is None:
        return Decision(True, ("there was no champion",))
    with tempfile.TemporaryDirectory() as scratch:
        registry.load(str(champion.number), Path(scratch) / "champion")
        before = read_evaluation(Path(scratch) / "champion" / "eval")
    try:
        return decide(before, evaluation, rule)
    except NotComparableError as error:
        return Decision(False, (str(error),))


def _tags(verdict: Verdict) -> dict[str, str]:
    decision = verdict.decision
    return {
        VERDICT: verdict.word,
        "compared_with": str(verdict.compared_with or ""),
        "gain_db": f"{decision.gain:.6f}",
        "lower_bound_db": f"{decision.lower_bound:.6f}",
        "num_samples": str(decision.num_samples),
        "reasons": "\n".join(decision.reasons)[:4000],
    }
