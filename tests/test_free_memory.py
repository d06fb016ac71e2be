"""Free memory is what the kernel tells, within the limits of every control group above the process."""

from pathlib import Path

import pytest
import torch

from minimagen.free_memory import free_bytes

CPU = torch.device("cpu")
MIB = 2**20


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def free_with(root: Path, *, cgroup: str, groups: dict[str, str]) -> int | None:
    """Returns what is free on a machine of 8000 MiB, 1000 of them free, with the given control groups."""
    meminfo = f"MemTotal: {8000 * 1024} kB\nMemFree: 7 kB\nMemAvailable: {1000 * 1024} kB\nHugePages_Total: 0\n"
    write(root / "proc", {"meminfo": meminfo, "self/cgroup": cgroup})
    write(root / "groups", groups)
    return free_bytes(CPU, proc=root / "proc", cgroups=root / "groups")


def version_2(name: str, limit_mib: int | None, used_mib: int, inactive_mib: int = 0) -> dict[str, str]:
    return {
        f"{name}/memory.max": "max\n" if limit_mib is None else f"{limit_mib * MIB}\n",
        f"{name}/memory.current": f"{used_mib * MIB}\n",
        f"{name}/memory.stat": f"anon 5\ninactive_file {inactive_mib * MIB}\n",
    }


def test_without_limits_it_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    assert free_with(tmp_path, cgroup="0::/a/b\n", groups=version_2("a/b", None, 300)) == 1000 * MIB


def test_the_limit_of_a_group_counts_less_what_it_uses_and_cannot_give_back(tmp_path: Path) -> None:
    groups = version_2("a/b", 500, 300, inactive_mib=40)

    assert free_with(tmp_path, cgroup="0::/a/b\n", groups=groups) == 240 * MIB


def test_a_tighter_limit_further_up_counts(tmp_path: Path) -> None:
    groups = version_2("a/b", 900, 300) | version_2("a", 600, 500) | version_2("other", 10, 10)

    assert free_with(tmp_path, cgroup="0::/a/b\n", groups=groups) == 100 * MIB


def test_a_container_that_sees_its_own_group_as_the_root_is_limited_by_it(tmp_path: Path) -> None:
    assert free_with(tmp_path, cgroup="0::/\n", groups=version_2(".", 400, 100)) == 300 * MIB


@pytest.mark.parametrize(("limit", "expected_mib"), [(700 * MIB, 450), (9223372036854771712, 1000)])
def test_groups_of_version_1_count_likewise(tmp_path: Path, limit: int, expected_mib: int) -> None:
    groups = {
        "memory/a/memory.limit_in_bytes": f"{limit}\n",
        "memory/a/memory.usage_in_bytes": f"{300 * MIB}\n",
        "memory/a/memory.stat": f"inactive_file 1\ntotal_inactive_file {50 * MIB}\n",
    }

    assert free_with(tmp_path, cgroup="5:cpu,cpuacct:/x\n4:memory:/a\n0::/\n", groups=groups) == expected_mib * MIB


def test_a_system_that_does_not_tell_is_unknown(tmp_path: Path) -> None:
    assert free_bytes(CPU, proc=tmp_path, cgroups=tmp_path) is None


def test_this_machine_has_no_more_free_than_it_has() -> None:
    meminfo = Path("/proc/meminfo").read_text().split()
    free = free_bytes(CPU)

    assert free is not None and 0 < free <= int(meminfo[meminfo.index("MemTotal:") + 1]) * 1024
