"""Batches of a split in a given order, from any batch on, prepared ahead where loading takes time."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from striate.data._splits import ImageSplit
from striate.errors import InputError

if TYPE_CHECKING:
    import torch

Batch = tuple[NDArray[np.int64], "torch.Tensor", "torch.Tensor"]


def batches(
    split: ImageSplit,
    order: ArrayLike,
    batch_size: int,
    start_batch: int = 0,
    *,
    part: Callable[[int, NDArray[np.int64]], NDArray[np.int64]] = lambda batch, rows: rows,
    threads: int | None = None,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Yield (indices, uint8 images N x C x h x w, targets) of the samples of `order`, batch by batch.

    Targets are int64 labels (N,), or the uint8 masks N x h x w of scenes.

    The last batch may be smaller. Beginning at `start_batch` gives exactly the batches that remain of a whole pass.
    `part` chooses what this process loads of each batch, given its number and its indices.
    Splits that are not in memory are loaded ahead, `prefetch` batches at most, with `threads` decoding threads; what
    fails there is raised here, in the place of its batch. Closing the iterator, or an exception in the loop over it,
    ends the loading. Raises InputError for an order, size or start that does not fit the split.
    """
    rows = np.asarray(order, dtype=np.int64).reshape(-1)
    total = -(-len(rows) // batch_size) if batch_size > 0 else 0
    if batch_size < 1:
        raise InputError(f"batches: batch_size must be at least 1, got {batch_size}")
    if not 0 <= start_batch <= total:
        raise InputError(f"batches: start_batch must be from 0 to {total}, the number of batches, got {start_batch}")
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(split)):
        raise InputError(
            f"batches: order must have indices from 0 to {len(split) - 1}, got {rows.min()} to {rows.max()}"
        )
    chunks = (part(k, rows[k * batch_size : (k + 1) * batch_size]) for k in range(start_batch, total))
    if split.in_memory or prefetch < 1:
        return (_load(split, chunk, threads) for chunk in chunks)
    return _ahead(split, chunks, threads, prefetch)


def _load(split: ImageSplit, rows: NDArray[np.int64], threads: int | None) -> Batch:
    import torch

    return rows, torch.from_numpy(split.load(rows, threads=threads)), torch.from_numpy(split.targets(rows))


def _ahead(
    split: ImageSplit, chunks: Iterator[NDArray[np.int64]], threads: int | None, prefetch: int
) -> Iterator[Batch]:
    loader = ThreadPoolExecutor(1, thread_name_prefix="striate-batches")
    try:
        waiting: deque[Future[Batch]] = deque(
            loader.submit(_load, split, chunk, threads) for chunk in islice(chunks, prefetch)
        )
        while waiting:
            batch = waiting.popleft().result()
            waiting.extend(loader.submit(_load, split, chunk, threads) for chunk in islice(chunks, 1))
            yield batch
    finally:
        loader.shutdown(wait=True, cancel_futures=True)
