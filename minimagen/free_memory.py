"""How much memory a process can still have: of a GPU, or of the machine within the limits of its control groups.

Reads what the kernel tells (Linux only) and does not know what the memory is for.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Files that hold a control group's limit and use, and the entry of memory.stat that the kernel can take back."""


def free_bytes(
    device: torch.device, *, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Returns the bytes that are free, or None where the operating system does not tell.

    Args:
        proc: where the kernel tells of processes.
        cgroups: where control groups are mounted: of version 2, or of version 1 below ``memory``.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = proc / "meminfo"
    if not meminfo.is_file():
        return None
    return min([_table(meminfo)["MemAvailable:"] * 1024, *_free_in_groups(proc / "self/cgroup", cgroups)])


def _free_in_groups(membership: Path, cgroups: Path) -> Iterator[int]:
    """Yields what is free in each control group of this process that has a limit, from its own up to the root."""
    for line in membership.read_text().splitlines() if membership.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _free_up_to(cgroups, path, *VERSION_2)
        elif "memory" in controllers.split(","):
            yield from _free_up_to(cgroups / "memory", path, *VERSION_1)


def _free_up_to(mount: Path, path: str, limit_name: str, used_name: str, reclaimable_name: str) -> Iterator[int]:
    own = mount / path.lstrip("/")
    for group in (own, *own.parents):
        limit = group / limit_name
        if limit.is_file() and limit.read_text().strip().isdigit():  # Version 2 says "max" for none.
            used, reclaimable = int((group / used_name).read_text()), _table(group / "memory.stat")[reclaimable_name]
            yield int(limit.read_text()) - used + reclaimable
        if group == mount:
            return


def _table(path: Path) -> dict[str, int]:
    """Reads lines that begin with a name and a number."""
    return {name: int(number) for name, number, *_ in map(str.split, path.read_text().splitlines())}
