"""The learning-rate range test of Smith (2017): the rate rises from step to step until the loss runs away."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from striate.errors import Diverged, InputError, Interrupted
from striate.runtime import RuntimeOptions
from striate.training._initial import InitialWeights
from striate.training._listener import Listener
from striate.training._plan import planned
from striate.training._recipe import Recipe
from striate.training._rehearsal import Rehearsal

STEPS, LOWEST, HIGHEST = 200, 1e-6, 10.0
SMOOTHING = 0.9  # decay of the mean over the steps' losses
SAFETY = 10.0  # the suggestion is this factor below the rate at which the loss runs away
_MANY_TIMES = 4.0  # a loss so many times the lowest one has run away
_FALLEN = 0.75  # a loss that came below this part of its beginning has learned something
_WINDOW = 9  # readings over which a slope is measured


class Reading(NamedTuple):
    """One step: its rate, and the loss of its batch, as it is and smoothed; None if it is no finite number."""

    rate: float
    loss: float | None
    smoothed: float | None


@dataclass(frozen=True)
class LrRange:
    """What the range test saw. `exploded`: the rate at which the loss ran away. `steepest`: where it fell fastest.

    Each is None where there was no such rate; `rule` says in words how the suggestion was come by.
    """

    readings: tuple[Reading, ...]
    exploded: float | None
    steepest: float | None
    suggestion: float | None
    rule: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**asdict(self), "readings": [reading._asdict() for reading in self.readings]}


def lr_range(
    recipe: Recipe,
    where: str,
    *,
    data_root: Path | None = None,
    runtime: RuntimeOptions | None = None,
    device: str = "auto",
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
    weights: InitialWeights | None = None,
) -> LrRange:
    """Train a throwaway network with a rate that rises exponentially, and suggest a rate for the recipe.

    Network, data, augmentation, loss, optimiser and batches are the recipe's; its schedule plays no part. It ends when
    the loss runs away, at the latest after so many steps. `weights` are what it begins with in place of random ones.
    Nothing is written; the same seed gives the same readings.
    Raises InputError for bad data or options, and Interrupted once `stop` is true.
    """
    if not 0.0 < lowest < highest < math.inf:
        raise InputError(f"lr: the rate must rise from above 0, got {lowest:g} to {highest:g}")
    if steps < 2 * _WINDOW:
        raise InputError(f"lr: {steps} steps are too few to see a slope; take {2 * _WINDOW} or more")
    listener = listener or Listener()
    plan = planned(recipe, where, Path(), data_root=data_root, runtime=runtime, device=device, listener=listener)
    rates = np.geomspace(lowest, highest, steps).tolist()
    with torch.random.fork_rng(devices=[]), plan.run.runtime.applied():
        copy = _AtRate(plan.run, plan.data, stop)
        if weights is not None:
            weights.give(copy.model)
        return judged(*range_test(copy.losses(rates, listener)))


def range_test(losses: Iterable[tuple[float, float]]) -> tuple[list[Reading], float | None]:
    """Smooth (rate, loss) pairs until the loss runs away; return the readings and the rate at which it did.

    That is where it is no number, or where smoothed it is 4 times the lowest so far, has climbed back by half of what
    it had fallen or, if it has not fallen yet, is twice what it began with.
    """
    readings: list[Reading] = []
    mean, weight, lowest, began = 0.0, 0.0, math.inf, math.nan
    for rate, loss in losses:
        if not math.isfinite(loss):
            return [*readings, Reading(rate, None, None)], rate
        mean, weight = SMOOTHING * mean + (1 - SMOOTHING) * loss, SMOOTHING * weight + 1 - SMOOTHING
        smoothed = mean / weight
        readings.append(Reading(rate, loss, smoothed))
        lowest, began = min(lowest, smoothed), smoothed if len(readings) == 1 else began
        bound = (lowest + began) / 2 if lowest < _FALLEN * began else 2 * began
        if smoothed > min(bound, _MANY_TIMES * lowest):
            return readings, rate
    return readings, None


def judged(readings: Sequence[Reading], exploded: float | None) -> LrRange:
    """Suggest a rate: a tenth of where the loss runs away; where it never does, the one at which it falls fastest."""
    steepest = _steepest([reading for reading in readings if reading.smoothed is not None])
    if exploded is not None and steepest is not None:
        rule = f"a tenth of the rate at which the loss runs away ({exploded:.2g})"
        return LrRange(tuple(readings), exploded, steepest, _two_digits(exploded / SAFETY), rule)
    if exploded is not None:
        rule = "none: the loss runs away before it has fallen; look at the data and the network, or begin lower"
        return LrRange(tuple(readings), exploded, None, None, rule)
    if steepest is not None:
        rule = "the loss falls fastest there; it never runs away, so a higher rate may do as well"
        return LrRange(tuple(readings), None, steepest, _two_digits(steepest), rule)
    rule = "none: the loss does not fall at any of these rates; go higher, or look at the data and the network"
    return LrRange(tuple(readings), None, None, None, rule)


def _two_digits(rate: float) -> float:
    return float(f"{rate:.2g}")


def _steepest(readings: Sequence[Reading]) -> float | None:
    """Return the rate at which the smoothed loss falls fastest over the rate's logarithm, on the way to its lowest.

    None if it falls by less than a quarter.
    """
    smoothed = np.array([reading.smoothed for reading in readings])
    if len(smoothed) < _WINDOW or smoothed.min() >= _FALLEN * smoothed[0]:
        return None
    rates = np.log([reading.rate for reading in readings])
    last = max(int(smoothed.argmin()), _WINDOW - 1)
    windows = [slice(end - _WINDOW + 1, end + 1) for end in range(_WINDOW - 1, last + 1)]
    slopes = [np.polyfit(rates[window], smoothed[window], 1)[0] for window in windows]
    middle = windows[int(np.argmin(slopes))].start + _WINDOW // 2
    return readings[middle].rate


class _AtRate(Rehearsal):
    """A training whose rate is set from outside."""

    rate = 0.0

    def learning_rate(self) -> float:
        return self.rate

    def losses(self, rates: Sequence[float], listener: Listener) -> Iterator[tuple[float, float]]:
        """Take a step with each rate and yield the rate and the loss; infinity for one that is beyond return."""
        for done, (rate, batch) in enumerate(zip(rates, self.endless(), strict=False), 1):
            self.rate = rate
            if self.stop():
                raise Interrupted("stopped; nothing was written")
            before = self.position.loss_sum, self.position.seen
            try:
                self.step(*batch)
            except Diverged:
                yield rate, math.inf
                return
            listener.progress(done, len(rates), "rising rate")
            yield rate, (self.position.loss_sum - before[0]) / (self.position.seen - before[1])
