"""The learning rate as a function of time and of what was measured: no state, so a restart changes nothing."""

import math
from collections.abc import Sequence

from striate.training._recipe import ScheduleOptions


def factor(options: ScheduleOptions, epoch: float, epochs: int, errors: Sequence[float] = ()) -> float:
    """Return what the learning rate is multiplied with at `epoch` (a fraction counts too) of `epochs`.

    `errors` are the validation errors of the epochs that are done; "plateau" reads them. Warm-up rises linearly from 0
    to 1, or stays at `warmup_rate`. "cosine" is final + (1 - final) (1 + cos(pi t)) / 2 (Loshchilov & Hutter 2017,
    equation 5) and "polynomial" final + (1 - final) (1 - t)^power, with t from 0 to 1 over what the warm-up leaves.
    """
    if epoch < options.warmup:
        return options.warmup_rate or epoch / options.warmup
    if options.name == "constant":
        return 1.0
    if options.name == "step":
        return math.prod(options.gamma for milestone in options.milestones if epoch >= milestone)
    if options.name == "exponential":
        return max(options.gamma ** math.floor(epoch / options.every), options.final)
    if options.name == "plateau":
        return max(options.gamma ** drops(errors, options.wait), options.final)
    t = min((epoch - options.warmup) / max(epochs - options.warmup, 1e-9), 1.0)
    shape = (1.0 - t) ** options.power if options.name == "polynomial" else 0.5 * (1.0 + math.cos(math.pi * t))
    return options.final + (1.0 - options.final) * shape


def drops(errors: Sequence[float], wait: int) -> int:
    """Return how often `wait` epochs in a row have passed without an error below all before; each counts anew."""
    best, since, count = math.inf, 0, 0
    for error in errors:
        best, since = (error, 0) if error < best else (best, since + 1)
        if since == wait:
            since, count = 0, count + 1
    return count
