"""Which command mends a damaged file: from DVC's cache if its object is whole, else from a remote, else made again.

Looks, and runs nothing. A rotten object has to go first: DVC would not replace it, and would check it out in silence.
"""

import shlex
from collections.abc import Sequence, Set
from pathlib import Path

from minimagen.dvc_record import LOCK_FILE, ObjectCache, RecordedOut, files_of

_COMMANDS = {
    "raw": "minimagen ingest {part}",
    "curated": "minimagen curate",
    "text_encoder": "minimagen text-encoder",
    "embeddings": "minimagen embed",
    "models": "minimagen train {part}",
    "checkpoints": "minimagen train {part}",
    "eval": "minimagen evaluate",
    "cascade.json": "minimagen evaluate",
}
"""What makes each part of data/ where no dvc.lock says so."""


class Mender:
    """Knows what a project's dvc.lock records, and what of it is damaged."""

    def __init__(self, root: Path, outs: Sequence[RecordedOut], cache: ObjectCache, damaged: Set[Path]) -> None:
        """``damaged`` are the paths of all that is not as recorded, outs and objects of the cache alike."""
        self._root, self._cache, self._damaged = root, cache, damaged
        self._owners: dict[Path, tuple[RecordedOut, str]] = {}
        self._users: dict[Path, RecordedOut] = {}
        for out in outs:
            self._users[cache.path(out.md5)] = out
            for path, md5 in (files_of(out, cache) or {}).items():
                self._owners[root / path] = (out, md5)
                self._users[cache.path(md5)] = out
        self._outs = outs

    def command(self, path: Path) -> str:
        """Returns the command that mends one file."""
        if path == self._root / LOCK_FILE:
            return f"git checkout {LOCK_FILE}    # without Git: rm {LOCK_FILE} && dvc repro"
        if path.is_relative_to(self._cache.folder):
            return self._mend_object(path)
        if path.is_relative_to(self._root / "runs"):
            return self._mend_run(path)
        return self._mend_out(path)

    def _mend_object(self, path: Path) -> str:
        out = self._users.get(path)
        if out is None:
            return f"rm -f {self._quoted(path)}    # {LOCK_FILE} does not name it: of an older state, or unused"
        if self._is_stage_whole(out.stage):
            return f"rm -f {self._quoted(path)} && dvc commit --force {out.stage}"
        return self._remake(out)

    def _mend_out(self, path: Path) -> str:
        out, md5 = self._owners.get(path, (self._out_above(path), None))
        if out is None:
            return self._make_without_dvc(path)
        if md5 is None and not path.is_dir():
            return f"rm -f {self._quoted(path)}    # or, if it was made since: dvc commit {out.stage}"
        if not out.is_cached:
            return f"git checkout {self._quoted(path)} || dvc repro --single-item --force {out.stage}"
        if md5 is None or self._is_rotten(out.md5) or self._is_rotten(md5):
            return self._remake(out)
        return f"rm -f {self._quoted(path)} && dvc checkout --force {out.path}"

    def _mend_run(self, path: Path) -> str:
        """A run goes on from the newest state that is whole; what it has published does not need its states."""
        place = path.relative_to(self._root / "runs")
        unet = place.parts[1].rpartition("-")[0] if place.parts[0] == "train" else ""
        again = f"MINIMAGEN_FRESH=1 minimagen train {unet}" if unet else "minimagen evaluate"
        for folder in path.parents:
            if folder.parent.name == "states":
                return f"rm -r {self._quoted(folder)}    # the run goes on from the state before it"
            if folder.parent.name == "snapshots":
                return f"rm -r {self._quoted(folder)}    # if the run has not ended: {again}"
        return f"rm -f {self._quoted(path)}    # to have its curves again: {again}"

    def _remake(self, out: RecordedOut) -> str:
        """Fetched from a remote if one has it, made again if not; all that is damaged of the out goes first."""
        rotten = [path for path in sorted(self._damaged) if self._users.get(path) == out]
        broken = [
            path for path in sorted(self._damaged) if path.is_relative_to(self._root / out.path) and not path.is_dir()
        ]
        gone = " ".join(self._quoted(path) for path in (*rotten, *broken))
        again = f"dvc repro --single-item --force {out.stage}"
        first = f"rm -f {gone}; " if gone else ""
        return f"{first}{{ dvc fetch {out.stage} && dvc checkout --force {out.path}; }} || {again}"

    def _make_without_dvc(self, path: Path) -> str:
        kind, *parts = path.relative_to(self._root / "data").parts
        command = _COMMANDS[kind].format(part=parts[0] if parts else "")
        return f"rm -f {self._quoted(path)} && {command}"

    def _is_rotten(self, md5: str) -> bool:
        return self._cache.path(md5) in self._damaged or not self._cache.path(md5).exists()

    def _is_stage_whole(self, stage: str) -> bool:
        """Whether the project's copies can replace what the cache has lost: DVC commits all outs of a stage at once."""
        places = [self._root / out.path for out in self._outs if out.stage == stage]
        return all(place.exists() for place in places) and not any(
            path.is_relative_to(place) for path in self._damaged for place in places
        )

    def _out_above(self, path: Path) -> RecordedOut | None:
        return next((out for out in self._outs if path.is_relative_to(self._root / out.path)), None)

    def _quoted(self, path: Path) -> str:
        return shlex.quote(str(path.relative_to(self._root) if path.is_relative_to(self._root) else path))
