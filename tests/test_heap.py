import platform
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen.source_closure import PACKAGE_FOLDER

COUNT_FAULTS = """
import resource, sys
import torch
from minimagen import heap

getattr(heap, sys.argv[1])()
for repetition in range(-10, 20):
    if repetition == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.empty(4 * 2**20).fill_(1.0) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
KEEP_GIGABYTES = """
import ctypes
from pathlib import Path
from minimagen.heap import keep_freed_blocks

def size_mb():
    return int(Path("/proc/self/statm").read_text().split()[0]) * 4096 // 2**20

keep_freed_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
before = size_mb()
blocks = [libc.malloc(700 * 2**20) for _ in range(5)]
for block in blocks:
    libc.free(block)
print(size_mb() - before)
"""
NUM_PAGES = 20 * 4 * 16 * 2**20 // 4096
glibc_alone = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")


def faults_after(setting: str) -> int:
    return number_from(COUNT_FAULTS, setting)


def number_from(script: str, *arguments: str) -> int:
    command = [sys.executable, "-c", script, *arguments]
    return int(subprocess.run(command, cwd=PACKAGE_FOLDER.parent, capture_output=True, check=True, text=True).stdout)


@glibc_alone
def test_a_kept_block_is_not_asked_of_the_kernel_again() -> None:
    assert faults_after("keep_freed_blocks") < NUM_PAGES // 100


@glibc_alone
def test_a_returned_block_is_new_each_time() -> None:
    assert faults_after("return_large_blocks") > NUM_PAGES // 600  # pages may be of 2 MiB


@glibc_alone
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="nobody tells a process's size")
def test_gigabytes_are_kept_too() -> None:
    assert number_from(KEEP_GIGABYTES) >= 5 * 700  # addresses alone: no page of them is touched
