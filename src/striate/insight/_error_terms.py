"""The error term of every layer: how strongly what it gives out should have been different."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


class ErrorTerm(NamedTuple):
    """What one layer's error term, the gradient of a picture's loss by the layer's output, is like over a batch.

    error: its norm over a picture's units, the root mean square over pictures. gradient: the norm of the gradient by
    the layer's parameters over the norm of these. dead: the part of the units (feature maps) whose error term is 0
    everywhere in the batch, so that nothing can be learnt from it about them.
    """

    layer: str
    error: float
    gradient: float
    dead: float


def error_terms(model: nn.Module, loss: Callable[[], Tensor]) -> list[ErrorTerm]:
    """Return the error terms of the layers that have parameters, normalisations left out, in the order of the pass.

    loss: runs the model on a batch and returns the mean of the pictures' losses. The model runs as it is, in training
    or in evaluation mode; its parameters, gradients and statistics (buffers) are afterwards what they were. A layer
    that the loss does not reach is left out.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if not isinstance(module, _NORMS) and any(p.requires_grad for p in module.parameters(recurse=False))
    }
    watches = {name: _Watch() for name in layers}
    order: dict[str, None] = {}  # layers as they are first called

    def follow(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            order.setdefault(name)
            if isinstance(output, Tensor) and output.requires_grad and output.ndim > 1:
                output.register_hook(watches[name].see)  # type: ignore[no-untyped-call]

        return hook

    hooks = [module.register_forward_hook(follow(name)) for name, module in layers.items()]
    try:
        with _unchanged(model), torch.enable_grad():
            parameters = [p for p in model.parameters() if p.requires_grad]
            found = torch.autograd.grad(loss(), parameters, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    gradients = {id(p): gradient for p, gradient in zip(parameters, found, strict=True)}
    return [
        ErrorTerm(name, watches[name].error(), _relative(layers[name], gradients), watches[name].dead())
        for name in order
        if watches[name].pictures
    ]


@dataclass
class _Watch:
    """The error terms that came by one layer's output, of all its calls."""

    squares: float = 0.0
    pictures: int = 0
    alive: list[Tensor] = field(default_factory=list)

    def see(self, gradient: Tensor) -> None:
        """Take in the gradient of the mean loss by an output of N x units x places."""
        wide = gradient.detach().double()
        self.squares += (
            float(wide.square().sum()) * len(wide) ** 2
        )  # a picture's own loss is N times its part of the mean
        self.pictures = len(wide)
        self.alive.append((wide != 0).transpose(0, 1).flatten(1).any(1).cpu())

    def error(self) -> float:
        return float((self.squares / self.pictures) ** 0.5)

    def dead(self) -> float:
        alive = self.alive[0]
        for other in self.alive[1:]:
            alive = alive | other if len(other) == len(alive) else alive
        return 1.0 - float(alive.double().mean())


def _relative(module: nn.Module, gradients: Mapping[int, Tensor | None]) -> float:
    own = [p for p in module.parameters(recurse=False) if p.requires_grad]
    size = sum(float(p.detach().double().square().sum()) for p in own)
    found = [gradients.get(id(p)) for p in own]
    slope = sum(float(gradient.double().square().sum()) for gradient in found if gradient is not None)
    return float((slope / size) ** 0.5) if size else 0.0


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Put the model's buffers back: batch normalisation counts every pass in training mode."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
