"""A training on a copy of its own: what it does is measured and thrown away."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from striate.data import ImageData
from striate.training._listener import Listener
from striate.training._loop import Trainer
from striate.training._run import Run


class Rehearsal(Trainer):
    """Network, data and steps are those of the run; nothing of the run is touched and nothing is written."""

    def __init__(self, run: Run, data: ImageData, stop: Callable[[], bool] = lambda: False) -> None:
        super().__init__(run, data, Listener(), stop, error_terms=False)

    def endless(self) -> Iterator[Any]:
        """Yield what `step` takes, batch by batch, of one epoch after the other."""
        for self.position.epoch in count():
            self.position.batch = 0
            yield from self.rest_of_epoch()
