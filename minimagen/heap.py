"""What this process does with memory that it has freed: give it back to the kernel, or keep it for the next block.

By glibc's malloc; where there is another one nothing changes.
"""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_LARGE_BYTES = 2**20
_NEVER = -1
_BLOCK_BYTES, _OLD_BLOCK_BYTES = 2**30, 2**25
"""Up to this size a freed block is kept; glibc before 2.35 takes no more than the second."""


def return_large_blocks() -> None:
    """Gives blocks from 1 MiB on back as soon as they are freed.

    glibc keeps blocks of a size that was freed before, up to 32 MB each: a worker would grow with every odd picture.
    """
    if _is_glibc():
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def keep_freed_blocks() -> None:
    """Keeps what is freed until the process ends, for work that allocates the same blocks again and again.

    A training step touches tens of thousands of pages that are new to it otherwise, each an interrupt of the kernel
    (docs/experiments.md).
    """
    if _is_glibc():
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
        _ = libc.mallopt(_M_MMAP_THRESHOLD, _BLOCK_BYTES) or libc.mallopt(_M_MMAP_THRESHOLD, _OLD_BLOCK_BYTES)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
