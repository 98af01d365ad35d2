"""How fast a training goes, by the clock on the wall, and so how long it will still take."""

import time
from collections import deque
from collections.abc import Callable

RECENT = 200  # steps whose mean is the pace: a machine that becomes busier is noticed


class Laps:
    """A clock that is read in laps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.lapped = clock, clock()

    def lap(self) -> float:
        """Return the seconds since the last lap and begin another."""
        before, self.lapped = self.lapped, self.clock()
        return self.lapped - before


class Pace(Laps):
    """Laps of steps and of what stands between two epochs: validation, error terms, files.

    `between` is what is expected of the latter, in seconds, before there was one.
    """

    def __init__(self, between: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self.between = between
        self.steps: deque[float] = deque(maxlen=RECENT)

    def step(self) -> float:
        """Note that a step has ended; return the seconds since the last lap: waiting for its batch counts too."""
        seconds = self.lap()
        if len(self.steps) == 1 and self.steps[0] > 2 * seconds:
            self.steps.clear()  # the first one prepares what all others use
        self.steps.append(seconds)
        return seconds

    def epoch(self) -> None:
        """Note that what stands between two epochs is done."""
        self.between = self.lap()

    def left(self, steps: int, epochs: int) -> float:
        """Return the seconds that so many steps and ends of epochs will take."""
        mean = sum(self.steps) / len(self.steps) if self.steps else 0.0
        return mean * steps + self.between * epochs
