"""Where the pixels of an augmented picture come from: affine changes, windows, mirror images and crops."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.data._randomness import Draw

if TYPE_CHECKING:
    import torch

    from striate.data._augmentation import Augmentation

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Placing:
    """One affine map per picture from positions in the output to positions in the input, each from its centre.

    (x, y) comes from (xx x + xy y + x0, yx x + yy y + y0), in pixels.
    """

    xx: Numbers
    xy: Numbers
    x0: Numbers
    yx: Numbers
    yy: Numbers
    y0: Numbers

    def after(self, width: Numbers, height: Numbers, right: Numbers, down: Numbers) -> "Placing":
        """Return the map that first takes (x, y) to (width x + right, height y + down) and then goes on with this."""
        return Placing(
            self.xx * width,
            self.xy * height,
            self.xx * right + self.xy * down + self.x0,
            self.yx * width,
            self.yy * height,
            self.yx * right + self.yy * down + self.y0,
        )


def move(
    canvas: "torch.Tensor", draw: Draw, options: "Augmentation", size: tuple[int, int], *, nearest: bool = False
) -> "torch.Tensor":
    """Return pictures of `size` (height, width) whose pixels have moved as `options` allow; `nearest`: none mixed."""
    height, width = canvas.shape[2:]
    if options.distorts or options.windows:
        placing = affine(draw, options, height=height, width=width)
        if options.windows:
            wide, tall, right, down = window(draw, options, canvas=(height, width), size=size)
            placing = placing.after(wide / size[1], tall / size[0], right, down)
        # a window lies inside the picture: its outermost half pixels continue it; what was moved leaves black behind
        outside = "zeros" if options.distorts else "border"
        canvas = resample(canvas, placing, size if options.windows else (height, width), outside, nearest)
    if options.flip:
        canvas = mirror(canvas, draw, options.flip)
    if options.crop or tuple(canvas.shape[2:]) != size:
        canvas = cut(canvas, draw, size, margin=int(options.crop))
    return canvas


def affine(draw: Draw, options: "Augmentation", *, height: int, width: int) -> Placing:
    """Return the inverse of: squeeze and scale, shear, turn and shift the picture, in this order."""
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
    return Placing(xx, xy, -(xx * right + xy * down), yx, yy, -(yx * right + yy * down))


def window(
    draw: Draw, options: "Augmentation", *, canvas: tuple[int, int], size: tuple[int, int]
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return width, height, and how far right and down of the centre the windows to be resampled to `size` lie."""
    height, width = canvas
    if options.area != (1.0, 1.0) or options.aspect > 1.0:
        low, high = options.area
        share = low + (high - low) * draw.unit("area")
        wide, tall = sides(share, options.aspect, draw.unit("aspect"), canvas=canvas)
    else:
        smaller, larger = options.zoom
        zoom = smaller + (larger - smaller) * draw.unit("zoom")
        wide, tall = size[1] / zoom, size[0] / zoom
    wide, tall = np.minimum(wide, width), np.minimum(tall, height)
    right = (draw.unit("crop-x") - 0.5) * (width - wide)
    down = (draw.unit("crop-y") - 0.5) * (height - tall)
    return wide, tall, right, down


def sides(share: Numbers, aspect: float, place: Numbers, *, canvas: tuple[int, int]) -> tuple[Numbers, Numbers]:
    """Return width and height of rectangles that cover this share of a canvas (height, width) and fit into it.

    Up to `aspect` times wider than high or the reverse; `place`, 0 to 1, says where between the two by the logarithm.
    """
    height, width = canvas
    most = np.minimum(aspect, width / (share * height))
    least = np.minimum(np.maximum(1 / aspect, share * width / height), most)
    ratio = np.exp(np.log(least) + (np.log(most) - np.log(least)) * place)
    return np.sqrt(share * ratio * (width * height)), np.sqrt(share / ratio * (width * height))


def resample(
    canvas: "torch.Tensor", placing: Placing, size: tuple[int, int], outside: str, nearest: bool = False
) -> "torch.Tensor":
    """Read each picture bilinearly (not antialiased), or the `nearest` pixel, where its map says.

    `outside` is "zeros" or "border".
    """
    import torch
    from torch.nn.functional import grid_sample

    like: dict[str, Any] = {"dtype": canvas.dtype, "device": canvas.device}
    # grid_sample wants -1 .. 1 from edge to edge. Sums and products of separate steps, never a matrix product: its
    # rounding may depend on the size of the batch.
    across, along = 2 / canvas.shape[3], 2 / canvas.shape[2]
    rows = [placing.xx * across, placing.xy * across, placing.x0 * across]
    rows += [placing.yx * along, placing.yy * along, placing.y0 * along]
    xx, xy, x0, yx, yy, y0 = torch.tensor(np.stack(rows), **like).reshape(6, -1, 1, 1)
    height, width = size
    x = torch.arange(width, **like).sub_((width - 1) / 2).view(1, 1, width)
    y = torch.arange(height, **like).sub_((height - 1) / 2).view(1, height, 1)
    grid = torch.empty((len(canvas), height, width, 2), **like)
    torch.add(xx * x + x0, xy * y, out=grid[..., 0])
    torch.add(yx * x + y0, yy * y, out=grid[..., 1])
    mode = "nearest" if nearest else "bilinear"
    return grid_sample(canvas, grid, mode=mode, padding_mode=outside, align_corners=False)


def mirror(canvas: "torch.Tensor", draw: Draw, probability: float) -> "torch.Tensor":
    """Exchange left and right in the drawn pictures."""
    import torch

    mirrored = torch.from_numpy(draw.unit("flip") < probability).to(canvas.device)
    return torch.where(mirrored[:, None, None, None], canvas.flip(3), canvas)


def cut(canvas: "torch.Tensor", draw: Draw, size: tuple[int, int], *, margin: int) -> "torch.Tensor":
    """Cut `size` out of each picture with `margin` black pixels around it; pixels keep their values."""
    import torch
    from torch.nn.functional import pad

    height, width = size
    spare = (canvas.shape[3] + 2 * margin - width, canvas.shape[2] + 2 * margin - height)
    left, top = (
        np.floor(draw.unit(way) * (room + 1)).astype(int).tolist()
        for way, room in zip(("crop-x", "crop-y"), spare, strict=True)
    )
    padded = pad(canvas, (margin,) * 4) if margin else canvas
    return torch.stack([image[:, y : y + height, x : x + width] for image, x, y in zip(padded, left, top, strict=True)])
