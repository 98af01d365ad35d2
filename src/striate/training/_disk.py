"""How much room on the disk a run needs, and whether it is there."""

import shutil
from pathlib import Path

from torch import Tensor, nn

from striate.errors import StriateError
from striate.training._checkpoint import KEPT
from striate.training._memory import MIB
from striate.training._recipe import Recipe

_STATES = {"sgd": 0, "rmsprop": 1, "adamw": 2}  # tensors that an optimiser keeps for each parameter, but for momentum
_REST = 4 * MIB  # report, lines of metrics, golden pictures, heads of files


def needed_mib(model: nn.Module, recipe: Recipe) -> float:
    """Return the most that a run's folder holds at once: checkpoints, the best weights, the bundle."""
    weights = sum(map(_bytes, model.state_dict().values()))
    trainable = sum(_bytes(value) for value in model.parameters() if value.requires_grad)
    optimizer = recipe.optimizer
    states = _STATES[optimizer.name] + (optimizer.name != "adamw" and optimizer.momentum > 0)
    step = weights + states * trainable + (weights if recipe.ema else 0)
    return ((KEPT + 1) * step + 3 * weights + _REST) / MIB  # the old ones go when the new one is whole


def free_mib(folder: Path) -> float | None:
    """Return the room on the disk that a folder is on, or will be; None if the system does not tell."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return round(shutil.disk_usage(place).free / MIB, 1)
    except OSError:
        return None


def require_room(folder: Path, needed: float) -> None:
    """Raise StriateError if the disk has less than `needed` MiB left."""
    free = free_mib(folder)
    if free is not None and free < needed:
        raise StriateError(
            f"{folder}: the run needs up to {needed:,.0f} MiB for checkpoints, weights and bundle, and the disk has "
            f"{free:,.0f} MiB left; free some space or choose another --out (--no-forecast begins all the same)"
        )


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()
