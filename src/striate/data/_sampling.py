"""Which samples an epoch is made of, and in which order: functions of the seed and the epoch."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data._randomness import Keys, again, sample_keys, shuffled, uniform
from striate.data._splits import ImageSplit

Sampling = Literal["all", "balanced"]


class Draws(NamedTuple):
    """The samples of an epoch in their order: row of the split and key of each draw.

    A sample that is drawn more than once has another key each time, so that it is augmented differently.
    """

    rows: NDArray[np.int64]
    keys: Keys


def draws(split: ImageSplit, sampling: Sampling, seed: int, epoch: int) -> Draws:
    """Return the draws of an epoch, as many as the split has samples.

    "all": every sample once, in the split's own order. "balanced": see `balanced`.
    """
    if sampling == "balanced":
        return balanced(seed, epoch, split.keys, split.labels)
    rows = split.order(seed, epoch)
    return Draws(rows, split.keys[rows])


def balanced(seed: int, epoch: int, keys: Keys, labels: NDArray[np.int64]) -> Draws:
    """Return as many draws as there are keys: classes equally often, and the samples of a class, to within one.

    Which of them are drawn once more than others changes from epoch to epoch.
    """
    classes = np.unique(labels)
    lucky = np.argsort(uniform(seed, epoch, sample_keys([str(label) for label in classes]), "balance/class"))
    quota = np.full(len(classes), len(keys) // len(classes))
    quota[lucky[: len(keys) % len(classes)]] += 1
    rank = uniform(seed, epoch, keys, "balance/sample")
    rows, numbers = [], []
    for label, wanted in zip(classes, quota, strict=True):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(rank[members], kind="stable")]
        count = np.arange(wanted)
        rows.append(members[count % len(members)])
        numbers.append(count // len(members))
    chosen, number = np.concatenate(rows), np.concatenate(numbers)
    drawn = again(keys[chosen], number)
    order = shuffled(seed, epoch, drawn)
    return Draws(chosen[order], drawn[order])
