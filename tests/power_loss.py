"""What a disk may hold after a power cut: a model of files and folders that keeps only what was flushed, and chance.

A file keeps what was written before its last fsync; of later writes any first part, the last of them torn, what is
missing maybe zeros. A folder keeps its entries of its last fsync; of later changes any of them, whichever came first. A
rename is one change. Knows nothing of what is written.
"""

import copy
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faulty_disk import Call


@dataclass(slots=True)
class File:
    """A file: what is safe, and what was done since."""

    safe: bytes = b""
    later: list[bytes | int] = field(default_factory=list)
    """Bytes appended, or the size it was cut to."""

    def content(self, num_later: int) -> bytes:
        """Returns what it holds after some of the later changes."""
        content = self.safe
        for change in self.later[:num_later]:
            content = content[:change] if isinstance(change, int) else content + change
        return content

    def flush(self) -> None:
        """Makes all of it safe."""
        self.safe, self.later = self.content(len(self.later)), []

    def after_power_loss(self, chance: random.Random) -> bytes:
        """Returns what it may hold after a power cut."""
        whole, num_kept = self.content(len(self.later)), chance.randint(0, len(self.later))
        kept = self.content(num_kept)
        if num_kept < len(self.later) and isinstance(torn := self.later[num_kept], bytes):
            kept += torn[: chance.randint(0, len(torn))]
        return kept + bytes(max(0, len(whole) - len(kept))) if chance.random() < 0.3 else kept


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a folder's entries: a name goes, then a name comes."""

    gone: str | None = None
    new: "tuple[str, File | Folder] | None" = None

    def apply(self, entries: "dict[str, File | Folder]") -> None:
        """Makes the change."""
        if self.gone is not None:
            entries.pop(self.gone, None)
        if self.new is not None:
            entries[self.new[0]] = self.new[1]


@dataclass(slots=True)
class Folder:
    """A folder: its entries as they are and as they are safe, and what was done since."""

    entries: "dict[str, File | Folder]" = field(default_factory=dict)
    safe: "dict[str, File | Folder]" = field(default_factory=dict)
    later: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """Changes the entries; what is safe stays as it is."""
        change.apply(self.entries)
        self.later.append(change)

    def flush(self) -> None:
        """Makes all entries safe."""
        self.safe, self.later = dict(self.entries), []

    def write_after_power_loss(self, target: Path, chance: random.Random) -> None:
        """Writes into an empty folder what may be left after a power cut."""
        kept, share = dict(self.safe), chance.choice((0.0, 0.5, 1.0))
        for change in self.later:
            if chance.random() < share:
                change.apply(kept)
        for name, node in kept.items():
            if isinstance(node, File):
                (target / name).write_bytes(node.after_power_loss(chance))
            else:
                (target / name).mkdir()
                node.write_after_power_loss(target / name, chance)


class Disk:
    """Follows the calls below a folder, which exists and is safe: the handler of ``intercepted``."""

    def __init__(self, root: Path) -> None:
        self._path, self._root = root, Folder()
        self._opened: dict[int, Path] = {}

    def snapshot(self) -> Folder:
        """Returns the disk as it is now, for a power cut at this moment."""
        return copy.deepcopy(self._root)

    def __call__(self, call: Call) -> Any:
        """Runs a call and does to the model what it does to the disk."""
        path = self._whole(call) if isinstance(call.arguments[0], str | os.PathLike) else None
        is_new = call.name == "open" and self._find(self._whole(call)) is None
        answer = call.run()
        if path is None:
            self._through_descriptor(call, answer)
        elif call.name == "open":
            self._open(path, call.arguments[1], answer, is_new=is_new)
        elif call.name == "mkdir":
            self._folder(path).change(Change(new=(path.name, Folder())))
        elif call.name in ("rename", "replace"):
            self._move(path, Path(call.arguments[1]))
        else:
            self._folder(path).change(Change(gone=path.name))
        return answer

    def _through_descriptor(self, call: Call, answer: Any) -> None:
        node = self._find(self._opened[call.arguments[0]])
        assert node is not None
        if call.name == "fsync":
            node.flush()
        else:
            assert isinstance(node, File)
            size_or_content = call.arguments[1]
            node.later.append(size_or_content if call.name == "ftruncate" else bytes(size_or_content)[:answer])

    def _open(self, path: Path, flags: int, descriptor: int, *, is_new: bool) -> None:
        self._opened[descriptor] = path
        if flags & os.O_CREAT and is_new:
            self._folder(path).change(Change(new=(path.name, File())))
        elif flags & os.O_TRUNC:
            node = self._find(path)
            assert isinstance(node, File)
            node.later.append(0)

    def _move(self, source: Path, target: Path) -> None:
        assert source.parent == target.parent, f"{source} is moved into another folder, which the model does not know"
        node = self._find(source)
        assert node is not None
        self._folder(source).change(Change(source.name, (target.name, node)))

    def _whole(self, call: Call) -> Path:
        folder = call.keywords.get("dir_fd")
        return Path(call.arguments[0]) if folder is None else self._opened[folder] / call.arguments[0]

    def _folder(self, path: Path) -> Folder:
        node = self._find(path.parent)
        assert isinstance(node, Folder)
        return node

    def _find(self, path: Path) -> "File | Folder | None":
        node: File | Folder | None = self._root
        for name in path.relative_to(self._path).parts:
            node = node.entries.get(name) if isinstance(node, Folder) else None
        return node
