"""Colours changed a little: brightness, contrast, saturation, and the light of AlexNet's colour noise."""

from typing import TYPE_CHECKING

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
    if canvas.shape[1] not in {1, 3}:
        raise InputError(
            f"augment: colours can be changed in pictures of 1 or 3 channels only, these have {canvas.shape[1]}"
        )
    if options.brightness or options.contrast or options.saturation:
        canvas = _enhance(canvas, draw, options)
    if options.lighting:
        canvas = _relight(canvas, draw, options.lighting)
    return canvas


def _enhance(canvas: "torch.Tensor", draw: Draw, options: "Augmentation") -> "torch.Tensor":
    """Move each picture away from or towards black, its mean grey and its grey, in a drawn order (Howard 2013)."""
    import torch

    def per_sample(values: NDArray[np.float64]) -> "torch.Tensor":
        return torch.tensor(values, dtype=canvas.dtype, device=canvas.device).reshape(-1, 1, 1, 1)

    amounts = ((name, getattr(options, name)) for name in ("brightness", "contrast", "saturation"))
    factors = np.stack([1 + draw.signed(name) * amount for name, amount in amounts])
    order = ORDERS[np.floor(draw.unit("colour-order") * len(ORDERS)).astype(int)]
    for turn in range(3):
        kind = order[:, turn]
        factor = per_sample(factors[kind, np.arange(len(kind))])
        grey = _grey(canvas)
        towards = torch.where(per_sample(kind == 1) > 0, _mean(grey), grey)
        towards = torch.where(per_sample(kind == 0) > 0, torch.zeros_like(grey), towards)
        canvas = (canvas + (canvas - towards) * (factor - 1)).clamp_(0, 1)  # so written, a factor of 1 changes no bit
    return canvas


def _grey(canvas: "torch.Tensor") -> "torch.Tensor":
    if canvas.shape[1] == 1:
        return canvas
    red, green, blue = LUMA
    return canvas[:, 0:1] * red + canvas[:, 1:2] * green + canvas[:, 2:3] * blue


def _mean(grey: "torch.Tensor") -> "torch.Tensor":
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
