"""The dense conditional random field (Krähenbühl, Koltun, NIPS 2011) that sharpens a segmentation, as DeepLab uses it.

Every pixel is joined to every other: alike pixels nearby want the same label. Equation 3 of the paper has two Gaussian
kernels, appearance (place and colour) and smoothness (place); labels are compatible or not (Potts). The mean field
approximation (algorithm 1) filters the labels' probabilities with the kernels, on the permutohedral lattice.

Departures, those of the authors' own code, for which DeepLab's weights were found: the kernels are normalised
symmetrically, by the root of their row sums, and a pixel's message counts the pixel itself.
"""

import torch
from torch import Tensor

from striate.errors import InputError
from striate.models._permutohedral import PermutohedralLattice


@torch.no_grad()
def refine(
    probabilities: Tensor,
    image: Tensor,
    *,
    iterations: int = 10,
    appearance_weight: float = 5.0,
    appearance_xy: float = 50.0,
    appearance_rgb: float = 10.0,
    smoothness_weight: float = 3.0,
    smoothness_xy: float = 3.0,
) -> Tensor:
    """Return probabilities of the labels that follow the edges of the picture: C x H x W to C x H x W, float32.

    probabilities: of a network, each pixel's adding up to 1. image: 3 x H x W (or other channels), values 0 to 255.
    xy and rgb are the deviations of the kernels, in pixels and in grey levels. The values are those of DeepLab's
    released first version, from the ranges of the ICLR 2015 paper (section 4.1), for VOC pictures of about 500 x 375.
    Time grows with pixels x labels x iterations: 240 x 180 pixels with 11 labels take about a second on one core.
    Raises InputError.
    """
    _require(probabilities, image, iterations)
    deviations = {"appearance_xy": appearance_xy, "appearance_rgb": appearance_rgb, "smoothness_xy": smoothness_xy}
    for name, value in deviations.items():
        if not value > 0:
            raise InputError(f"dense_crf: {name} must be above 0, got {value!r}")
    classes, height, width = probabilities.shape
    log_p = probabilities.float().clamp(min=1e-8).log().view(classes, -1).t()  # N x C: minus the unary energy
    rows = torch.arange(height, device=image.device).repeat_interleave(width)
    columns = torch.arange(width, device=image.device).repeat(height)
    place = torch.stack([columns, rows], 1).float()
    colour = image.float().flatten(1).t()
    kernels = []
    if appearance_weight:
        features = torch.cat([place / appearance_xy, colour / appearance_rgb], 1)
        kernels.append((appearance_weight, NormalisedKernel(features)))
    if smoothness_weight:
        kernels.append((smoothness_weight, NormalisedKernel(place / smoothness_xy)))
    q = log_p.softmax(1)
    for _ in range(iterations):
        # Potts: a label's energy is what the others' probabilities send it, so, up to a constant, minus its own
        message = sum((weight * kernel(q) for weight, kernel in kernels), torch.zeros_like(q))
        q = (log_p + message).softmax(1)
    return q.t().reshape(classes, height, width)


class NormalisedKernel:
    """A Gaussian kernel K of N points as D^-1/2 K D^-1/2, D being its row sums; N x d features in deviations."""

    def __init__(self, features: Tensor) -> None:
        self.lattice = PermutohedralLattice(features)
        self.scale = self.lattice.filter(features.new_ones(len(features), 1)).clamp(min=1e-20).rsqrt()

    def __call__(self, values: Tensor) -> Tensor:
        """Return the filtered values, N x C."""
        return self.scale * self.lattice.filter(self.scale * values)


def _require(probabilities: Tensor, image: Tensor, iterations: int) -> None:
    if probabilities.ndim != 3 or image.shape[1:] != probabilities.shape[1:] or 0 in (*probabilities.shape, len(image)):
        raise InputError(
            "dense_crf: needs probabilities C x H x W and the picture 3 x H x W of the same size, got"
            f" {tuple(probabilities.shape)} and {tuple(image.shape)}"
        )
    if not probabilities.is_floating_point() or not 0 <= probabilities.min() <= probabilities.max() <= 1.001:
        raise InputError("dense_crf: probabilities must be from 0 to 1; take logits.softmax(0) first")
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 0:
        raise InputError(f"dense_crf: iterations must be an integer of 0 or more, got {iterations!r}")
