"""A forecast by measuring: some steps of a training are taken on a copy before it begins."""

import datetime
import time
from collections.abc import Callable

import numpy as np
import torch

from striate.training import _checkpoint as checkpoint
from striate.training._disk import free_mib
from striate.training._error_terms import PICTURES
from striate.training._forecast import Forecast
from striate.training._loop import judging_batch
from striate.training._memory import peak_memory
from striate.training._rehearsal import Rehearsal

SECONDS, SHARE = 5.0, 0.02  # a forecast takes no more than so long, or than this share of what it foresees
_AHEAD = 2  # batches that are loaded before they are asked for: steps do not wait for these


def measure(
    rehearsal: Rehearsal,
    *,
    checkpoint_seconds: float,
    disk_mib: float,
    error_terms: bool,
    clock: Callable[[], float] = time.monotonic,
) -> Forecast:
    """Time some real steps, a part of the validation and the packing of a checkpoint on a copy.

    Takes at most about 2 % of the time that is foreseen or some seconds; two steps and two batches of the validation at
    least. Raises Diverged if these steps do.
    """
    began = clock()
    recipe, val, test = rehearsal.recipe, rehearsal.data.splits["val"], rehearsal.data.splits["test"]
    steps = rehearsal.batches * recipe.epochs
    generators = [rehearsal.device] if rehearsal.device.type == "cuda" else []
    with torch.random.fork_rng(devices=generators):
        timed, pace = _time_steps(rehearsal, steps, clock)
        picture = _time_validation(rehearsal, min(SECONDS, SHARE * steps * pace) / 2, clock)
        laid_down = clock()
        checkpoint.packed(*rehearsal.contents())
        packing = clock() - laid_down
    share = len(rehearsal.train_split) / recipe.batch_size  # of a batch that an epoch is, the last one being smaller
    watched = min(PICTURES / recipe.batch_size, 1.0) if error_terms else 0.0
    between = len(val) * picture + watched * pace
    busy = 1 + packing / max(checkpoint_seconds, pace)
    return Forecast(
        made=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        epochs=recipe.epochs,
        epoch_seconds=round((share * pace + between) * busy, 4),
        between_seconds=round(between, 4),
        after_seconds=round((len(val) + len(test)) * picture + packing, 4),
        memory_mib=peak_memory(rehearsal.device),
        disk_mib=round(disk_mib, 1),
        free_mib=free_mib(rehearsal.run.folder),
        timed_steps=timed,
        spent_seconds=round(clock() - began, 3),
    )


def _time_steps(rehearsal: Rehearsal, steps: int, clock: Callable[[], float]) -> tuple[int, float]:
    """Return how many steps were timed and what one takes; the first, which prepare and wait less, do not count."""
    unlike = 1 if rehearsal.train_split.in_memory else 1 + _AHEAD
    first = clock()
    for done, batch in enumerate(rehearsal.endless(), 1):
        rehearsal.step(*batch)
        now = clock()
        if done <= unlike:
            first = now
            continue
        pace = (now - first) / (done - unlike)
        if now - first >= min(SECONDS, SHARE * steps * pace):
            return done - unlike, pace
    raise AssertionError("endless batches have ended")


def _time_validation(rehearsal: Rehearsal, limit: float, clock: Callable[[], float]) -> float:
    """Return what a picture of the validation split takes: of ever more pictures until it has taken long enough."""
    split, size = rehearsal.data.splits["val"], judging_batch(rehearsal.recipe)
    model, count = rehearsal.judged_model(), min(size, len(split))
    if not count:
        return 0.0
    rehearsal.task.validate(model, split.subset(np.arange(count)), batch_size=size)  # prepares
    while True:
        began = clock()
        rehearsal.task.validate(model, split.subset(np.arange(count)), batch_size=size)
        seconds = clock() - began
        if seconds >= limit / 2 or count == len(split):
            return seconds / count
        count = min(4 * count, len(split))
