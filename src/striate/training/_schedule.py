"""The learning rate as a function of time: no state, so a restart changes nothing."""

import math

from striate.training._recipe import ScheduleOptions


def factor(options: ScheduleOptions, epoch: float, epochs: int) -> float:
    """Return what the learning rate is multiplied with at `epoch` (a fraction counts too) of `epochs`.

    Warm-up rises linearly from 0 to 1; "cosine" is final + (1 - final) (1 + cos(pi t)) / 2 (Loshchilov & Hutter 2017,
    equation 5) with t from 0 to 1 over what the warm-up leaves.
    """
    if epoch < options.warmup:
        return epoch / options.warmup
    if options.name == "constant":
        return 1.0
    if options.name == "step":
        return math.prod(options.gamma for milestone in options.milestones if epoch >= milestone)
    t = (epoch - options.warmup) / max(epochs - options.warmup, 1e-9)
    return options.final + (1.0 - options.final) * 0.5 * (1.0 + math.cos(math.pi * min(t, 1.0)))
