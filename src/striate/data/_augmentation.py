"""Pictures changed a little at each epoch, in ways that do not change what they show; keyed, so repeatable."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.data._randomness import Keys, uniform
from striate.errors import InputError

if TYPE_CHECKING:
    import torch

_AFFINE = ("shift", "scale", "squeeze", "shear", "rotate")


@dataclass(frozen=True)
class Augmentation:
    """How far pictures may be changed; part of a recipe. All 0: not at all.

    Each amount is drawn anew for each sample and epoch, uniformly between its two extremes:
    `shift` moves by up to this fraction of the width and, separately, of the height; `scale` 0.1 enlarges or shrinks by
    up to 1.1 times; `squeeze` 0.1 makes it up to 1.1 times wider and as much lower, or the reverse; `shear` moves rows
    sideways by up to this times their height above the centre; `rotate` turns by up to so many degrees; `flip` is the
    probability of a mirror image, left and right exchanged; `crop` cuts the original size out of the picture with so
    many black pixels around it. What comes from outside the picture is black.
    """

    shift: float = 0.0
    scale: float = 0.0
    squeeze: float = 0.0
    shear: float = 0.0
    rotate: float = 0.0
    flip: float = 0.0
    crop: int = 0

    def __post_init__(self) -> None:
        most = {"shift": 1, "scale": 10, "squeeze": 10, "shear": 10, "rotate": 180, "flip": 1, "crop": 10_000}
        for name, limit in most.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise InputError(f"augmentation: {name} must be from 0 to {limit}, got {value}")
        if self.crop != int(self.crop):
            raise InputError(f"augmentation: crop must be a whole number of pixels, got {self.crop}")


LENET_DISTORTIONS = Augmentation(shift=0.06, scale=0.1, squeeze=0.1, shear=0.2)
"""The distortions of LeCun et al. 1998, section III-C: "planar affine transformations: horizontal and vertical
translations, scaling, squeezing (simultaneous horizontal compression and vertical elongation, or the reverse), and
horizontal shearing". The paper does not say how much; the amounts are ours: two pixels of 32, 10 per cent, 11 degrees.
"""


def augment(canvas: "torch.Tensor", keys: Keys, *, seed: int, epoch: int, options: Augmentation) -> "torch.Tensor":
    """Return the pictures (N x C x H x W, float32 or float64, black = 0) changed as `options` allow, in the same shape.

    What happens to a sample depends on (seed, epoch, its key) alone, to the last bit on a CPU: not on its batch. The
    affine changes are one bilinear resampling; mirroring and cropping move pixels exactly. The input stays as it is.
    """
    if canvas.ndim != 4 or not canvas.is_floating_point() or canvas.element_size() < 4:
        raise InputError(
            f"augment: expected float32 or float64 pictures N x C x H x W, got {canvas.dtype} of shape "
            f"{tuple(canvas.shape)}"
        )
    if len(keys) != len(canvas):
        raise InputError(f"augment: expected one key per picture, got {len(keys)} keys for {len(canvas)} pictures")
    if not len(canvas):
        return canvas
    draw = _Draw(seed, epoch, keys)
    if any(getattr(options, name) for name in _AFFINE):
        canvas = _warp(canvas, _affine(draw, options, height=canvas.shape[2], width=canvas.shape[3]))
    if options.flip or options.crop:
        canvas = _move(canvas, draw, options)
    return canvas


@dataclass(frozen=True)
class _Draw:
    """The random numbers of a batch, by stream."""

    seed: int
    epoch: int
    keys: Keys

    def unit(self, stream: str) -> NDArray[np.float64]:
        return uniform(self.seed, self.epoch, self.keys, f"augment/{stream}")

    def signed(self, stream: str) -> NDArray[np.float64]:
        return 2 * self.unit(stream) - 1


def _affine(draw: _Draw, options: Augmentation, *, height: int, width: int) -> NDArray[np.float64]:
    """Return for each picture the 2 x 3 matrix from output to input positions, both in pixels from the centre.

    The picture is squeezed and scaled, sheared, turned and shifted, in this order; this is the inverse.
    """
    scale = np.exp(draw.signed("scale") * math.log1p(options.scale))
    squeeze = np.exp(draw.signed("squeeze") * math.log1p(options.squeeze))
    wider, higher = scale * squeeze, scale / squeeze
    shear = draw.signed("shear") * options.shear
    angle = draw.signed("rotate") * math.radians(options.rotate)
    right = draw.signed("shift-x") * options.shift * width
    down = draw.signed("shift-y") * options.shift * height
    cos, sin = np.cos(angle), np.sin(angle)
    # inverse of  rotate(angle) @ [[1, shear], [0, 1]] @ diag(wider, higher)
    xx, xy = (cos + shear * sin) / wider, (sin - shear * cos) / wider
    yx, yy = -sin / higher, cos / higher
    return np.stack([xx, xy, -(xx * right + xy * down), yx, yy, -(yx * right + yy * down)], axis=1)


def _warp(canvas: "torch.Tensor", matrix: NDArray[np.float64]) -> "torch.Tensor":
    """Resample each picture bilinearly at the positions its matrix gives."""
    import torch
    from torch.nn.functional import grid_sample

    height, width = canvas.shape[2:]
    like: dict[str, Any] = {"dtype": canvas.dtype, "device": canvas.device}
    # grid_sample wants -1 .. 1 from edge to edge. Sums and products of separate steps, never a matrix product: its
    # rounding may depend on the size of the batch.
    to_unit = np.array([2 / width] * 3 + [2 / height] * 3)
    xx, xy, x0, yx, yy, y0 = torch.tensor(matrix * to_unit, **like).T.reshape(6, -1, 1, 1)
    x = torch.arange(width, **like).sub_((width - 1) / 2).view(1, 1, width)
    y = torch.arange(height, **like).sub_((height - 1) / 2).view(1, height, 1)
    grid = torch.empty((len(canvas), height, width, 2), **like)
    torch.add(xx * x + x0, xy * y, out=grid[..., 0])
    torch.add(yx * x + y0, yy * y, out=grid[..., 1])
    return grid_sample(canvas, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _move(canvas: "torch.Tensor", draw: _Draw, options: Augmentation) -> "torch.Tensor":
    """Mirror and crop: pixels keep their values and go to other places, black comes from outside."""
    import torch
    from torch.nn.functional import pad

    if options.flip:
        mirrored = torch.from_numpy(draw.unit("flip") < options.flip).to(canvas.device)
        canvas = torch.where(mirrored[:, None, None, None], canvas.flip(3), canvas)
    if not options.crop:
        return canvas
    height, width = canvas.shape[2:]
    margin = int(options.crop)
    left, top = (np.floor(draw.unit(way) * (2 * margin + 1)).astype(int).tolist() for way in ("crop-x", "crop-y"))
    padded = pad(canvas, (margin,) * 4)
    return torch.stack([image[:, y : y + height, x : x + width] for image, x, y in zip(padded, left, top, strict=True)])
