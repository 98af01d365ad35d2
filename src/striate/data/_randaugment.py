"""RandAugment (Cubuk et al. 2020): for each picture a few operations drawn from one list, all of one magnitude."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data._colour import away_from, grey_of, mean_of, require_colours
from striate.data._geometry import Placing, resample
from striate.data._levels import autocontrast, equalize, posterize, solarize
from striate.data._randomness import Draw

if TYPE_CHECKING:
    import torch

    from striate.data._augmentation import Augmentation

MOST = 10.0  # the magnitude at which an operation changes as much as the list below says

# The list of the paper, with AutoAugment's largest amounts (Cubuk et al. 2019, table 6).
OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "rotate",  # 30 degrees, either way
    "solarize",  # all levels inverted
    "color",  # saturation, contrast, brightness and sharpness times 1 - 0.9 or 1 + 0.9
    "posterize",  # 4 bits left
    "contrast",
    "brightness",
    "sharpness",
    "shear-x",  # 0.3, either way
    "shear-y",
    "translate-x",  # 150 / 331 of the width, either way
    "translate-y",
)
_ROTATE, _SHEAR, _TRANSLATE, _ENHANCE, _BITS = 30.0, 0.3, 150 / 331, 0.9, 4
_MOVES = tuple(OPERATIONS.index(name) for name in ("rotate", "shear-x", "shear-y", "translate-x", "translate-y"))


class Turn(NamedTuple):
    """One operation for each picture: which of the list, and which way (-1 or 1)."""

    kind: NDArray[np.int64]
    way: NDArray[np.float64]


def turns(draw: Draw, options: "Augmentation") -> Iterator[Turn]:
    """Yield what is done to each picture, one operation after the other."""
    for k in range(options.randaugment):
        kind = np.floor(draw.unit(f"randaugment-{k}") * len(OPERATIONS)).astype(np.int64)
        yield Turn(kind, np.where(draw.unit(f"randaugment-way-{k}") < 0.5, -1.0, 1.0))


def randaugment(canvas: "torch.Tensor", draw: Draw, options: "Augmentation") -> "torch.Tensor":
    """Return the pictures (N x C x H x W, C 1 or 3, 0..1) after `options.randaugment` operations each.

    What comes from outside a picture is black; rotation and shear are about its middle. Raises InputError for other C.
    """
    require_colours(canvas)
    strength = options.magnitude / MOST
    canvas = canvas.clone()
    for turn in turns(draw, options):
        move_(canvas, turn, strength)
        for kind, operation in _PIXELS.items():
            rows = np.flatnonzero(turn.kind == OPERATIONS.index(kind))
            _change_(canvas, rows, partial(operation, turn.way[rows], strength))
    return canvas


def move_(canvas: "torch.Tensor", turn: Turn, strength: float, *, nearest: bool = False) -> None:
    """Rotate, shear or translate the pictures whose turn it is, in place; `nearest`: no pixels are mixed."""
    rows = np.flatnonzero(np.isin(turn.kind, _MOVES))
    kind, amount = turn.kind[rows], turn.way[rows] * strength
    placing = _placing(kind, amount, height=canvas.shape[2], width=canvas.shape[3])
    size = (canvas.shape[2], canvas.shape[3])
    _change_(canvas, rows, lambda part: resample(part, placing, size, "zeros", nearest))


def _placing(kind: NDArray[np.int64], amount: NDArray[np.float64], *, height: int, width: int) -> Placing:
    def of(name: str, most: float) -> NDArray[np.float64]:
        return np.where(kind == OPERATIONS.index(name), amount * most, 0.0)

    angle = np.radians(of("rotate", _ROTATE))
    cos, sin = np.cos(angle), np.sin(angle)
    right, down = of("translate-x", _TRANSLATE * width), of("translate-y", _TRANSLATE * height)
    # the other way round, from the place in the result to that in the picture
    return Placing(cos, sin - of("shear-x", _SHEAR), -right, -sin - of("shear-y", _SHEAR), cos, -down)


def _change_(canvas: "torch.Tensor", rows: NDArray[np.int64], change: "Callable[[torch.Tensor], torch.Tensor]") -> None:
    """Change the pictures in `rows`, in place: only they are touched."""
    import torch

    if len(rows):
        where = torch.from_numpy(rows).to(canvas.device)
        canvas.index_copy_(0, where, change(canvas.index_select(0, where)))


def _enhanced(towards: "Callable[[torch.Tensor], torch.Tensor]") -> "_Operation":
    return lambda way, strength, part: away_from(towards(part), part, 1 + way * (_ENHANCE * strength))


def smooth(canvas: "torch.Tensor") -> "torch.Tensor":
    """Return the pictures filtered by [1 1 1; 1 5 1; 1 1 1] / 13, Pillow's SMOOTH; the outermost pixels stay."""
    height, width = canvas.shape[2:]
    if min(height, width) < 3:
        return canvas
    middle = canvas[:, :, 1:-1, 1:-1]
    total = 4 * middle  # and once more among the nine
    for down in range(3):
        for right in range(3):
            total = total + canvas[:, :, down : height - 2 + down, right : width - 2 + right]
    filtered = canvas.clone()
    filtered[:, :, 1:-1, 1:-1] = total / 13
    return filtered


_Operation = Callable[[NDArray[np.float64], float, "torch.Tensor"], "torch.Tensor"]  # way, strength, pictures
_PIXELS: dict[str, _Operation] = {
    "autocontrast": lambda way, strength, part: autocontrast(part),
    "equalize": lambda way, strength, part: equalize(part),
    "solarize": lambda way, strength, part: solarize(part, 256 * (1 - strength)),
    "posterize": lambda way, strength, part: posterize(part, 8 - round(_BITS * strength)),
    "color": _enhanced(grey_of),
    "contrast": _enhanced(lambda part: mean_of(grey_of(part))),
    "brightness": _enhanced(lambda part: 0 * grey_of(part)),
    "sharpness": _enhanced(smooth),
}
