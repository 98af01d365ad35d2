"""Operations that are defined on the 256 levels of 8-bit pictures, for whole batches; as Pillow has them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def posterize(canvas: "torch.Tensor", bits: int) -> "torch.Tensor":
    """Keep only the highest `bits` bits of each level; pictures N x C x H x W, 0..1."""
    return (levels(canvas) & (256 - (1 << (8 - bits)))).to(canvas.dtype) / 255


def solarize(canvas: "torch.Tensor", threshold: float) -> "torch.Tensor":
    """Invert every value whose level is at or above `threshold`."""
    import torch

    return torch.where(levels(canvas) >= threshold, 1 - canvas, canvas)


def autocontrast(canvas: "torch.Tensor") -> "torch.Tensor":
    """Stretch each channel so that its darkest value is 0 and its lightest 1; one without contrast stays."""
    import torch

    low, high = canvas.amin((2, 3), keepdim=True), canvas.amax((2, 3), keepdim=True)
    spread = torch.where(high > low, high - low, torch.ones_like(high))
    return torch.where(high > low, (canvas - low) / spread, canvas)


def equalize(canvas: "torch.Tensor") -> "torch.Tensor":
    """Map each channel's levels so that they are used about equally often; one of few levels may stay as it is."""
    import torch

    indices = levels(canvas).flatten(2)  # N x C x pixels
    counts = torch.zeros(*indices.shape[:2], 256, dtype=torch.int64, device=canvas.device)
    counts.scatter_add_(2, indices, torch.ones_like(indices))  # integers: no order of adding can change a bit
    step = (indices.shape[2] - _last(counts)) // 255
    before = counts.cumsum(2) - counts
    mapped = ((before + step // 2) // step.clamp(min=1)).clamp_(max=255)
    mapped = torch.where(step > 0, mapped, torch.arange(256, device=canvas.device))
    return (mapped.gather(2, indices).to(canvas.dtype) / 255).view_as(canvas)


def levels(canvas: "torch.Tensor") -> "torch.Tensor":
    """Return the nearest level of each value, int64."""
    import torch

    return (canvas * 255).round().clamp_(0, 255).to(torch.int64)


def _last(counts: "torch.Tensor") -> "torch.Tensor":
    """Return how many pixels have the lightest level that is there, N x C x 1."""
    import torch

    lightest = torch.where(counts > 0, torch.arange(256, device=counts.device), -1).amax(2, keepdim=True)
    return counts.gather(2, lightest)
