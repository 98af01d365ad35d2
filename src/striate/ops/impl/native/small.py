"""Small networks in one call each way, by `small_network.h`: all layers of a block of images while it is in the cache.

A network is a chain of `Stage`s. It is laid out once for an input size; its parameters stay the tensors of whoever
owns them.
"""

import ctypes
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from striate.ops.impl.native.library import (
    differentiable_again,
    empty,
    kernel,
    older_than_sources,
    panel,
    unusable,
)
from striate.ops.impl.native.small_layout import Layout, Size, Stage

_forward = kernel("small_forward", "sststt")
_backward = kernel("small_backward", "ssttttt")
_MOST_LANES, _FEWEST_LANES = 16, 4  # images of a block
_MOST_FREE = 2  # memories for the way back that are held ready

_Strides = ctypes.c_int64 * 4
_Pairs = list[tuple[Tensor | None, Tensor | None]]


class SmallNetwork:
    """A chain of stages for images C x H x W; the outputs are N x C x H x W, or N x features if they are `flat`.

    `plain` computes the same by other means, for gradients of gradients.
    """

    def __init__(self, size: Size, stages: Sequence[Stage], flat: bool, plain: Callable[[Tensor], Tensor]) -> None:
        self.size, self.stages, self.plain = size, tuple(stages), plain
        self.outputs = (prod(self.stages[-1].size),) if flat else self.stages[-1].size
        self.tensors = tuple(t for stage in self.stages for t in (stage.weight, stage.bias) if t is not None)
        self.free: list[tuple[int, Tensor]] = []
        self._layouts: dict[int, Layout] = {}

    def supports(self, x: Tensor) -> str | None:
        """Return None, or why it does not compute this batch."""
        if reason := unusable(x, *self.tensors):
            return reason
        if torch.compiler.is_compiling():
            return "torch.compile"
        if reason := older_than_sources("small_forward", "small_backward"):
            return reason
        if x.shape[1:] != self.size:
            return f"images of {tuple(x.shape[1:])}, for it was made for {self.size}"
        return "autocast" if torch.is_autocast_enabled("cpu") else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the last stage's output for a batch of images."""
        y: Tensor = _Run.apply(self, x, *self.tensors)  # type: ignore[no-untyped-call]
        return y

    def layout(self, lowest: int) -> Layout:
        """Return where all stands if gradients are wanted down to the output of layer `lowest` (0: the input)."""
        if lowest not in self._layouts:
            self._layouts[lowest] = Layout(self.size, self.stages, lowest)
        return self._layouts[lowest]

    def forward(self, x: Tensor, kept: Tensor | None) -> Tensor:
        """Compute the outputs; `kept` (from `memory`) takes what the backward pass needs."""
        layout, weights = self.layout(len(self.stages)), self._weights()
        y = empty(len(x), *self.outputs)
        _forward(layout.layers(weights), layout.shape(len(x)), x, _Strides(*x.stride()), kept, y)
        return y

    def backward(self, kept: Tensor, grad: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        """Return the gradients of the input and of `tensors`, those that are `wanted`."""
        by = iter(wanted[1:])

        def room(tensor: Tensor | None) -> Tensor | None:
            return empty(*tensor.shape) if tensor is not None and next(by) else None

        pairs = [(room(stage.weight), room(stage.bias)) for stage in self.stages]
        trained = (number for number, pair in enumerate(pairs, 1) if pair != (None, None))
        layout, weights = self.layout(0 if wanted[0] else next(trained)), self._weights()
        layers = layout.layers(weights, pairs)
        images = -(-len(grad) // _MOST_LANES) * _MOST_LANES
        copies = empty(layout.copies(layers, images, panel()))
        parts = empty(-(-len(grad) // _FEWEST_LANES) * layout.parts)
        grad_x = empty(len(grad), *self.size) if wanted[0] else None
        _backward(layers, layout.shape(len(grad)), kept, grad.contiguous(), parts, copies, grad_x)
        found = [
            g
            for stage, pair in zip(self.stages, pairs, strict=True)
            for t, g in zip((stage.weight, stage.bias), pair, strict=True)
            if t is not None
        ]
        return [grad_x, *found]

    def memory(self, batch: int) -> "_Kept":
        """Return memory for the values of a batch, zeros where nothing is written."""
        size = -(-batch // _MOST_LANES) * _MOST_LANES * self.layout(len(self.stages)).values
        return _Kept(self.free, size)

    def _weights(self) -> _Pairs:
        def plain(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.detach().contiguous()

        return [(plain(stage.weight), plain(stage.bias)) for stage in self.stages]


class _Kept:
    """Memory between a forward and its backward pass; it goes back to the free ones when nobody can ask any more.

    Frames have zeros around them that nothing overwrites, so memory is used again as it is, but only by the same
    instruction set, whose blocks are as wide.
    """

    def __init__(self, free: list[tuple[int, Tensor]], size: int) -> None:
        self.free, self.width = free, panel()
        fitting = [k for k, (width, tensor) in enumerate(free) if width == self.width and tensor.numel() >= size]
        self.tensor = free.pop(fitting[0])[1] if fitting else torch.zeros(size)

    def __del__(self) -> None:
        self.free.append((self.width, self.tensor))
        del self.free[:-_MOST_FREE]


class _Run(torch.autograd.Function):
    """The whole network as one step of autograd."""

    @staticmethod
    def forward(ctx: Any, network: SmallNetwork, x: Tensor, *tensors: Tensor) -> Tensor:
        ctx.network, ctx.kept = network, network.memory(len(x)) if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(x, *tensors)
        return network.forward(x, ctx.kept.tensor if ctx.kept else None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        network, wanted = ctx.network, ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            return None, *differentiable_again(lambda x, *_: network.plain(x), ctx.saved_tensors, grad)
        assert len(ctx.saved_tensors) == len(wanted)  # and none of them has been changed in place
        return None, *network.backward(ctx.kept.tensor, grad, wanted)
