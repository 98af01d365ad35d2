"""Memory that glibc keeps between steps instead of giving it back to the system and faulting it in again.

Blocks of 32 MiB and more always go back to the system when they are freed, so that each training step pays for its
large tensors anew. Within `memory_kept` malloc takes all blocks from its heap and keeps it. Afterwards the heap goes
back to the system and the thresholds to glibc's defaults. What cannot be undone: glibc adapts its thresholds to a
program as long as nobody sets one, and does so no more after the first block.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

# malloc.h: the parameters of mallopt
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_USUAL = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 << 10, _TOP_PAD: 128 << 10, _MMAP_THRESHOLD: 128 << 10}
_STEP = 64 << 20  # the heap grows by so many bytes at least
MOST_MIB = 2047  # mallopt takes an int

_open: list[int] = []  # a limit for each block that is open
_lock = Lock()


@lru_cache(maxsize=1)
def _malloc() -> Any:
    """Return the C library if it is glibc and nobody has set malloc's parameters for this process, else None."""
    if platform.libc_ver()[0] != "glibc" or any(
        name.startswith("MALLOC_") and name.endswith("_") for name in os.environ
    ):
        return None
    if "malloc" in os.environ.get("LD_PRELOAD", "") or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def can_keep() -> bool:
    """Whether this process's memory is malloc's of glibc with its parameters untouched."""
    return _malloc() is not None


@contextmanager
def memory_kept(mib: int = 0) -> Iterator[None]:
    """Within the block, keep freed memory for what comes next: at most `mib` MiB of it, 0 for as much as there is.

    The limit is on the free end of the heap; free blocks below a used one stay as well. Blocks within each other: the
    outermost counts. Where memory is not glibc's, or the environment sets malloc's parameters, nothing is done.
    """
    malloc = _malloc()
    if malloc is None:
        yield
        return
    with _lock:
        if not _open:
            malloc.mallopt(_MMAP_MAX, 0)
            limit = min(mib, MOST_MIB) << 20
            malloc.mallopt(_TRIM_THRESHOLD, limit or -1)
            malloc.mallopt(_TOP_PAD, min(_STEP, limit or _STEP))  # what is left at the end of the heap by trimming
        _open.append(mib)
    try:
        yield
    finally:
        with _lock:
            _open.pop()
            if not _open:
                for parameter, value in _USUAL.items():
                    malloc.mallopt(parameter, value)
                malloc.malloc_trim(0)
