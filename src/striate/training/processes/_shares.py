"""What a process computes of a batch."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.training.processes._group import Processes

Rows = NDArray[np.int64]


class Share(NamedTuple):
    """A process's share of a batch of any number of pictures, even none of them."""

    rows: Rows  # of the batch: its own pictures, part after part, then those that these are mixed with
    parts: tuple[int, ...]  # how many of its own each part of the step has
    partner: Rows | None = None  # which of `rows` each of its own is mixed with


def share_of(count: int, parts: int, processes: Processes, partner: Rows | None = None) -> Share:
    """Return a process's share of a batch of `count` pictures that is computed in so many parts.

    Each part is shared by all processes, so that it is the same for any number of them. `partner`: for each picture of
    the batch the row of the one that it is mixed with.
    """
    sections = [processes.part(rows) for rows in np.array_split(np.arange(count), parts)]
    own, sizes = np.concatenate(sections), tuple(map(len, sections))
    if partner is None:
        return Share(own, sizes)
    rows = np.concatenate([own, np.setdiff1d(partner[own], own)])
    place = np.zeros(count, np.int64)
    place[rows] = np.arange(len(rows))
    return Share(rows, sizes, place[partner[own]])
