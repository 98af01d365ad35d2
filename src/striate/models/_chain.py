"""What networks of different papers share: a chain of named parts, and checks of what comes in."""

import operator
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from striate.errors import InputError


class Chain(nn.Module):
    """A network whose named parts follow each other: N x C x H x W (series: N x C x T) -> the last part's output.

    `parts` in their order, by the paper's names. Inputs may have any size from `smallest` (height, width) on, or, with
    None, only `input_size` (C, H, W). The parts named in `recompute` are run again in the backward pass instead of
    keeping what they computed (gradient checkpointing): less memory, more time, the same gradients.
    """

    def __init__(
        self,
        name: str,
        parts: Mapping[str, nn.Module],
        *,
        input_size: tuple[int, ...],
        smallest: tuple[int, ...] | None = None,
        recompute: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.name, self.input_size, self.smallest, self.recompute = name, input_size, smallest, frozenset(recompute)
        for part_name, part in parts.items():
            self.add_module(part_name, part)
        self.order = tuple(parts)

    def run_part(self, part: str, x: Tensor) -> Tensor:
        """Return the output of one part, recomputed in the backward pass if it was asked for."""
        module = self.get_submodule(part)
        output: Tensor = recomputed(module, x) if part in self.recompute else module(x)
        return output

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every part's output by the paper's name, the last one also as "logits"."""
        require_images(self.name, x, self.input_size, self.smallest)
        seen: dict[str, Tensor] = {}
        for part in self.order:
            x = seen[part] = self.run_part(part, x)
        seen["logits"] = x
        return seen

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        require_images(self.name, x, self.input_size, self.smallest)
        for part in self.order:
            x = self.run_part(part, x)
        return x


def recomputed(module: nn.Module, x: Tensor) -> Tensor:
    """Return a module's output, which the backward pass computes again instead of keeping what led to it."""
    if not torch.is_grad_enabled():
        plain: Tensor = module(x)
        return plain
    output: Tensor = checkpoint(
        module, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(module))
    )
    return output


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Run batch normalisation without counting the batch into its averages: the first pass has done so."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.num_batches_tracked is not None]
    kept = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms if norm.num_batches_tracked is not None]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)


def require_images(name: str, x: Tensor, input_size: tuple[int, ...], smallest: tuple[int, ...] | None) -> None:
    """Raise InputError unless x is N of `input_size` (C, H, W) or (C, T), or, with `smallest`, any size from it on."""
    c, *axes = input_size
    if smallest is None:
        if x.shape[1:] != input_size:
            raise InputError(f"{name}: the input {tuple(x.shape)} is not N x {c} x {_times(axes)}")
    elif x.ndim != 2 + len(axes) or x.shape[1] != c or any(map(operator.lt, x.shape[2:], smallest)):
        any_size = "T" if len(axes) == 1 else "H x W"
        raise InputError(
            f"{name}: the input {tuple(x.shape)} is not N x {c} x {any_size} of at least {_times(smallest)}"
        )


Size = TypeVar("Size", bound=tuple[int, ...])


def chosen_size(name: str, size: Size | None, usual: Size, smallest: Size) -> Size:
    """Return the size asked for, or the usual one; raises InputError for what is below the smallest."""
    chosen = usual if size is None else size
    if any(map(operator.lt, chosen, smallest)):
        what, setting = ("images", "data.size=H,W") if len(chosen) == 2 else ("series", "data.length=T")
        raise InputError(
            f"{name}: takes {what} of at least {_times(smallest)}, the data gives {_times(chosen)}; "
            f"choose larger {what} (--set {setting}) or another network"
        )
    return chosen


def _times(size: Iterable[int]) -> str:
    return " x ".join(map(str, size))


def require_flag(name: str, option: str, value: Any) -> bool:
    """Return an on/off option; raises InputError for anything but true and false."""
    if not isinstance(value, bool):
        raise InputError(f"{name}: {option} must be true or false, got {value!r}")
    return value


def require_fraction(name: str, option: str, value: Any) -> float:
    """Return an option that is at least 0 and below 1, such as a dropout; raises InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1.0:
        raise InputError(f"{name}: {option} must be at least 0 and below 1, got {value!r}")
    return float(value)
