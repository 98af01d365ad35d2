"""Work on many files at once, a few ahead of whoever takes the results."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 8  # items under way per thread: enough to keep all busy, few enough to stop at once


def default_threads() -> int:
    """Return the number of decoding threads: one per core this process may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)


def in_threads(function: Callable[[T], R], items: Iterable[T], *, threads: int | None = None) -> Iterator[R]:
    """Yield `function` of each item, in their order, computed by some threads (default: `default_threads`).

    What fails is raised in the place of its item. Leaving the loop ends the work.
    """
    count = threads or default_threads()
    pool = ThreadPoolExecutor(count)
    rest = iter(items)
    try:
        waiting: deque[Future[R]] = deque(pool.submit(function, item) for item in islice(rest, _AHEAD * count))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
