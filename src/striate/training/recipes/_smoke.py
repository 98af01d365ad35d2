"""The small twin of a recipe: everything as it is, but tiny pictures and two short epochs."""

from dataclasses import replace

from striate.data import DataOptions
from striate.training._recipe import Recipe, ScheduleOptions

SMOKE = "_smoke"
EPOCHS, BATCH = 2, 8
# The sides of the smallest pictures that a network can do something with; others take 32.
SIDES = {"inception": 75, "alexnet": 67, "nin-imagenet": 67, "lenet5": 32, "highway-mnist": 28}


def smoke(recipe: Recipe) -> Recipe:
    """Return the twin, named NAME_smoke, that runs in seconds and goes through the same code: to see that it works."""
    return recipe.replace(
        name=recipe.name + SMOKE,
        data=_small(recipe.data, _side(recipe.model.name)),
        schedule=_short(recipe.schedule, EPOCHS / recipe.epochs),
        epochs=EPOCHS,
        batch_size=min(recipe.batch_size, BATCH),
    )


def _side(model: str) -> int:
    return next((side for start, side in SIDES.items() if model.startswith(start)), 32)


def _small(data: DataOptions, side: int) -> DataOptions:
    if data.kind == "signals":
        return replace(data, length=side)
    if data.crop_to is None:
        return replace(data, size=(side - 2 * data.border,) * 2)
    return replace(data, size=(round(side * data.size[0] / data.crop_to[0]),) * 2, crop_to=(side, side))


def _short(schedule: ScheduleOptions, share: float) -> ScheduleOptions:
    milestones = tuple(share * milestone for milestone in schedule.milestones)
    warmup, every = share * schedule.warmup, share * schedule.every
    return replace(schedule, milestones=milestones, warmup=warmup, every=every, wait=1)
