import platform
import subprocess
import sys

import pytest

from minimagen.source_closure import PACKAGE_FOLDER

COUNT_FAULTS = """
import resource, sys
import torch
from minimagen import heap

getattr(heap, sys.argv[1])()
for repetition in range(-3, 20):
    if repetition == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.empty(4 * 2**20).fill_(1.0) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
NUM_PAGES = 20 * 4 * 16 * 2**20 // 4096
glibc_alone = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")


def faults_after(setting: str) -> int:
    command = [sys.executable, "-c", COUNT_FAULTS, setting]
    return int(subprocess.run(command, cwd=PACKAGE_FOLDER.parent, capture_output=True, check=True, text=True).stdout)


@glibc_alone
def test_a_kept_block_is_not_asked_of_the_kernel_again() -> None:
    assert faults_after("keep_freed_blocks") < NUM_PAGES // 100


@glibc_alone
def test_a_returned_block_is_new_each_time() -> None:
    assert faults_after("return_large_blocks") > NUM_PAGES // 600  # pages may be of 2 MiB
