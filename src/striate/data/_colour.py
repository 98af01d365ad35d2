"""Colours changed a little: brightness, contrast, saturation, hue, and the light of AlexNet's colour noise."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.data._randomness import Draw
from striate.errors import InputError

if TYPE_CHECKING:
    import torch

    from striate.data._augmentation import Augmentation

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as decoding to grey takes it
STEPS = 2**20  # grey levels that a mean counts in
ORDERS = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])

# The principal axes of the RGB values (0..1) of ImageNet's training pictures, a column each, and the variances along
# them, as fb.resnet.torch (2016) published them; the paper gives no numbers.
IMAGENET_AXES = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
IMAGENET_VARIANCES = np.array([0.2175, 0.0188, 0.0045])


def recolour(canvas: "torch.Tensor", draw: Draw, options: "Augmentation") -> "torch.Tensor":
    """Return the pictures (N x C x H x W, C 1 or 3, 0..1) with other colours; raises InputError for other C."""
    require_colours(canvas)
    if options.brightness or options.contrast or options.saturation:
        canvas = _enhance(canvas, draw, options)
    if options.hue and canvas.shape[1] == 3:  # grey has none
        canvas = turn_hue(canvas, draw.signed("hue") * options.hue)
    if options.lighting:
        canvas = _relight(canvas, draw, options.lighting)
    return canvas


def require_colours(canvas: "torch.Tensor") -> None:
    """Raise InputError for pictures that are neither grey nor RGB."""
    if canvas.shape[1] not in {1, 3}:
        raise InputError(
            f"augment: colours can be changed in pictures of 1 or 3 channels only, these have {canvas.shape[1]}"
        )


def _enhance(canvas: "torch.Tensor", draw: Draw, options: "Augmentation") -> "torch.Tensor":
    """Move each picture away from or towards black, its mean grey and its grey, in a drawn order (Howard 2013)."""
    import torch

    amounts = ((name, getattr(options, name)) for name in ("brightness", "contrast", "saturation"))
    factors = np.stack([1 + draw.signed(name) * amount for name, amount in amounts])
    order = ORDERS[np.floor(draw.unit("colour-order") * len(ORDERS)).astype(int)]
    for turn in range(3):
        kind = order[:, turn]
        grey = grey_of(canvas)
        towards = torch.where(per_sample(kind == 1, canvas) > 0, mean_of(grey), grey)
        towards = torch.where(per_sample(kind == 0, canvas) > 0, torch.zeros_like(grey), towards)
        canvas = away_from(towards, canvas, factors[kind, np.arange(len(kind))])
    return canvas


def per_sample(values: NDArray[Any], canvas: "torch.Tensor") -> "torch.Tensor":
    """Return one number per picture as N x 1 x 1 x 1, of the pictures' type and on their device."""
    import torch

    return torch.tensor(values, dtype=canvas.dtype, device=canvas.device).reshape(-1, 1, 1, 1)


def away_from(towards: "torch.Tensor", canvas: "torch.Tensor", factors: NDArray[np.float64]) -> "torch.Tensor":
    """Multiply each picture's distance from `towards` by its factor; values stay in 0..1."""
    # so written, a factor of 1 changes no bit
    return (canvas + (canvas - towards) * (per_sample(factors, canvas) - 1)).clamp_(0, 1)


def turn_hue(canvas: "torch.Tensor", turns: NDArray[np.float64]) -> "torch.Tensor":
    """Turn the hue of each RGB picture by so many turns of the colour circle; value and saturation (HSV) stay."""
    import torch

    value, least = canvas.amax(1, keepdim=True), canvas.amin(1, keepdim=True)
    chroma = value - least
    red, green, blue = canvas[:, 0:1], canvas[:, 1:2], canvas[:, 2:3]
    per_chroma = 1 / torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixths = torch.where(value == green, 2 + (blue - red) * per_chroma, 4 + (red - green) * per_chroma)
    sixths = torch.where(value == red, (green - blue) * per_chroma, sixths) + per_sample(6 * turns, canvas)
    channels = []
    for start in (5, 3, 1):  # f(n) = V - C max(0, min(k, 4 - k, 1)), k = (n + H) mod 6
        k = (sixths + start) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.cat(channels, 1)


def grey_of(canvas: "torch.Tensor") -> "torch.Tensor":
    """Return the pictures' luma, N x 1 x H x W."""
    if canvas.shape[1] == 1:
        return canvas
    red, green, blue = LUMA
    return canvas[:, 0:1] * red + canvas[:, 1:2] * green + canvas[:, 2:3] * blue


def mean_of(grey: "torch.Tensor") -> "torch.Tensor":
    """Return each picture's mean, N x 1 x 1 x 1; summed as integers, so that no order of adding can change a bit."""
    import torch

    total = (grey * STEPS).round().to(torch.int64).sum((1, 2, 3), keepdim=True)
    return total.to(grey.dtype) / (STEPS * grey.shape[2] * grey.shape[3])


def _relight(canvas: "torch.Tensor", draw: Draw, amount: float) -> "torch.Tensor":
    """Add to all pixels of a picture one colour: a normal amount along each principal axis of ImageNet's colours.

    Krizhevsky et al. 2012, section 4.1, say "eigenvalues times a random variable" of deviation 0.1; their program
    (cuda-convnet2, convdata.py) takes the standard deviations along the axes, which are its square roots: so do we.
    """
    import torch

    along = np.stack([draw.normal(f"light-{k}") for k in range(3)], axis=1) * amount
    colour = (along * np.sqrt(IMAGENET_VARIANCES))[:, None, :] * IMAGENET_AXES
    light = colour[..., 0] + colour[..., 1] + colour[..., 2]  # N x 3
    if canvas.shape[1] == 1:
        light = (light[:, 0] * LUMA[0] + light[:, 1] * LUMA[1] + light[:, 2] * LUMA[2])[:, None]
    return canvas + torch.tensor(light, dtype=canvas.dtype, device=canvas.device)[:, :, None, None]
