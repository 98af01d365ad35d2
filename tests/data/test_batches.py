"""Batches: order, restart, prefetching, errors and shutdown."""

import contextlib
import threading
import time

import numpy as np
import pytest
import torch

from striate.data import ArraySplit, ImageError, batches
from striate.data._splits import ImageSplit
from striate.errors import InputError

N = 11
IMAGES = np.arange(N, dtype=np.uint8).reshape(N, 1, 1, 1).repeat(4, axis=3)
IDS = [str(k) for k in range(N)]
ORDER = np.random.default_rng(0).permutation(N)


class Slow(ImageSplit):
    """A split that counts its loads and fails at one sample."""

    in_memory = False
    digests: list[bytes] = []  # noqa: RUF012

    def __init__(self, bad=None, seconds=0):
        super().__init__(IDS, range(N))
        self.bad, self.seconds, self.loads, self.threads, self.loaders = bad, seconds, 0, None, set()

    def load(self, indices, *, threads=None):
        self.loads += 1
        time.sleep(self.seconds)
        self.threads = threads
        self.loaders.add(threading.current_thread())
        if self.bad in indices:
            raise ImageError("b/7.png", "the picture is damaged")
        return IMAGES[indices]

    def subset(self, rows):
        raise NotImplementedError


@pytest.fixture(params=["memory", "prefetch", "no prefetch"])
def make(request):
    if request.param == "memory":
        return lambda *a: batches(ArraySplit(IDS, range(N), IMAGES), *a)
    return lambda *a: batches(Slow(), *a, prefetch=3 if request.param == "prefetch" else 0)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 11, 12, 500])
def test_a_pass_gives_every_sample_once_in_order(make, batch_size):
    passed = list(make(ORDER, batch_size))
    assert np.concatenate([rows for rows, _, _ in passed]).tolist() == ORDER.tolist()
    assert [len(rows) for rows, _, _ in passed[:-1]] == [batch_size] * (len(passed) - 1)
    for rows, images, labels in passed:
        assert (images.dtype, images.shape, labels.dtype) == (torch.uint8, (len(rows), 1, 1, 4), torch.int64)
        assert images[:, 0, 0, 0].tolist() == labels.tolist() == rows.tolist()


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_a_restart_gives_exactly_what_remains(make, start):
    whole = list(make(ORDER, 4))[start:]
    rest = list(make(ORDER, 4, start))
    assert [(r.tolist(), x.tolist(), y.tolist()) for r, x, y in rest] == [
        (r.tolist(), x.tolist(), y.tolist()) for r, x, y in whole
    ]


def test_an_empty_order_gives_nothing(make):
    assert list(make([], 4)) == []


def test_loads_ahead_in_one_other_thread_but_not_further_than_asked():
    split = Slow()
    iterator = batches(split, ORDER, 2, prefetch=2, threads=3)
    next(iterator)
    deadline = time.monotonic() + 5
    while split.loads < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert split.loads == 3
    assert len(list(iterator)) == 5
    assert (split.loads, split.threads, len(split.loaders)) == (6, 3, 1)
    assert threading.current_thread() not in split.loaders


@pytest.mark.parametrize("prefetch", [0, 2])
def test_what_fails_is_raised_here_in_its_place(prefetch):
    iterator = batches(Slow(bad=7), range(N), 3, prefetch=prefetch)
    assert [next(iterator)[0].tolist(), next(iterator)[0].tolist()] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ImageError, match=r"^b/7.png: the picture is damaged$"):
        next(iterator)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, None])
def test_leaving_early_ends_the_loading(error):
    split = Slow(seconds=0.02)

    def use():
        for _ in batches(split, ORDER, 1, prefetch=N):
            if error is None:
                return
            raise error

    with pytest.raises(error) if error else contextlib.nullcontext():
        use()
    (loader,) = split.loaders
    assert not loader.is_alive()
    assert split.loads < N


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], 0), "batches: batch_size must be at least 1, got 0"),
        ((range(N), 4, 4), "batches: start_batch must be from 0 to 3, the number of batches, got 4"),
        ((range(N), 4, -1), "batches: start_batch must be from 0 to 3, the number of batches, got -1"),
        (([0, N], 4), "batches: order must have indices from 0 to 10, got 0 to 11"),
        (([-1], 4), "batches: order must have indices from 0 to 10, got -1 to -1"),
    ],
)
def test_refuses_what_does_not_fit_at_once(make, arguments, message):
    with pytest.raises(InputError) as caught:
        make(*arguments)
    assert str(caught.value) == message
