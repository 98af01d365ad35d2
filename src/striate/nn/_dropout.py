"""Dropout whose random bits are made a word at a time."""

from typing import Any

import torch
from torch import Tensor, nn

_WORD = 64  # bits that one draw of the generator gives
_LEAST = -(2**63)


class Dropout(nn.Dropout):
    """In training, set each element to zero with probability p and scale the others by 1 / (1 - p).

    Srivastava et al. 2014. PyTorch's module with another way to the random bits on the CPU, several times as fast: an
    element takes 8 bits of the default generator (16 where p is no multiple of 1/256; then p is met to 1/65536), and
    one byte is kept for the backward pass. torch.manual_seed decides them; the number of threads does not. Compiled,
    exported, in place, or elsewhere than on a CPU it is PyTorch's, with other random numbers.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the shape of the input."""
        if not self.training or self.p in {0.0, 1.0} or self.inplace or not _plain(input):
            return super().forward(input)
        kept: Tensor = _Masked.apply(input, self.p)  # type: ignore[no-untyped-call]
        return kept


class _Masked(torch.autograd.Function):
    """x times a random mask, which is kept as a byte per element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        keep, ctx.scale = random_mask(x, p)
        ctx.save_for_backward(keep)
        return _times(x, keep, ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return _times(grad, keep, ctx.scale), None


def random_mask(x: Tensor, p: float) -> tuple[Tensor, float]:
    """Return a mask of the shape and memory layout of x, true with the probability 1 - p, and 1 over that probability.

    p counts in steps of 1/256 if it is a multiple of that, else of 1/65536; the second value is exact for what was met.
    """
    bits, kind = (8, torch.int8) if p * 256 == int(p * 256) else (16, torch.int16)
    states = 2**bits
    dropped = min(max(round(p * states), 1), states - 1)
    words = torch.empty(-(-x.numel() * bits // _WORD), dtype=torch.int64).random_(_LEAST, None)
    flat = (words.view(kind) >= dropped - states // 2)[: x.numel()]  # a signed number begins at -states / 2
    dense = torch.empty_like(x, device="meta").stride()  # the order in which x lies in memory
    return flat.as_strided(x.shape, dense), states / (states - dropped)


def _times(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    return x * keep.to(x.dtype).mul_(scale)


def _plain(x: Tensor) -> bool:
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or x.device.type != "cpu":
        return False
    if torch._C._functorch.maybe_current_level() is not None or torch.autograd.forward_ad._current_level >= 0:
        return False
    return x.is_floating_point()
