"""Memory is kept within the block, up to the limit, and given back after it: counted in page faults and pages."""

import ctypes
import os
import resource
from pathlib import Path

import pytest

from striate.runtime import _allocator, memory_kept

pytestmark = pytest.mark.skipif(not _allocator.can_keep(), reason="memory is not glibc's here")

BLOCK = 48 << 20
PAGES = BLOCK // resource.getpagesize()


def faults(times: int) -> int:
    """Page faults of taking, filling and freeing a block so often, after a first time."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )

    def once() -> None:
        place = libc.malloc(BLOCK)
        ctypes.memset(place, 1, BLOCK)
        libc.free(place)

    once()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        once()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture(autouse=True)
def fresh() -> None:
    """glibc learns to keep large blocks once memory was kept: count in a process in which nothing else has run."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("other tests have run in this process; test_allocator_alone.py runs this file in one of its own")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_blocks_are_not_faulted_in_again() -> None:
    assert faults(3) > 2 * PAGES
    with memory_kept():
        assert faults(3) < PAGES / 4
        with memory_kept(1):  # the outermost counts
            assert faults(3) < PAGES / 4
        assert faults(3) < PAGES / 4
        inside = resident()
    assert inside - resident() > BLOCK / 2, "given back"
    assert faults(3) > 2 * PAGES


def test_the_limit_is_kept() -> None:
    with memory_kept(16):
        assert faults(4) > 2 * PAGES
    with memory_kept(128):
        assert faults(3) < PAGES / 4


def test_an_error_inside_undoes_it() -> None:
    with pytest.raises(ZeroDivisionError), memory_kept():
        raise ZeroDivisionError
    assert faults(2) > PAGES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "1000"),
        ("GLIBC_TUNABLES", "glibc.malloc.top_pad=1"),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2"),
    ],
)
def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    _allocator._malloc.cache_clear()
    try:
        assert not _allocator.can_keep()
        with memory_kept():
            assert faults(2) > PAGES
    finally:
        monkeypatch.undo()
        _allocator._malloc.cache_clear()
    assert os.environ.get(name) != value
    assert _allocator.can_keep()
