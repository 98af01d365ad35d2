"""What several modules do with their settings: check them, show them, draw parameters."""

from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry import make_window


def kernel_axes(kernel: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the kernel's size per axis; one integer means a square kernel on two axes."""
    return (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)


def require_counts(module: nn.Module, *names: str) -> None:
    """Raise InputError unless each of the named settings is an integer of 1 or more."""
    for name in names:
        value = getattr(module, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{type(module).__name__}: {name} must be an integer of 1 or more, got {value!r}")


def require_groups(module: nn.Module) -> None:
    """Raise InputError unless the module's channels and groups are positive integers and the groups divide them."""
    require_counts(module, "in_channels", "out_channels", "groups")
    of: Any = module
    if of.in_channels % of.groups or of.out_channels % of.groups:
        raise InputError(
            f"{type(module).__name__}: groups={of.groups} must divide the input channels ({of.in_channels}) and the"
            f" output channels ({of.out_channels})"
        )


def require_words(module: nn.Module, **words: Any) -> None:
    """Raise InputError unless the words make a window for the module's kernel."""
    kernel: Any = module.kernel
    try:
        make_window(len(kernel), kernel, size=kernel, **words)
    except InputError as error:
        raise InputError(f"{type(module).__name__}: {error}") from None


def draw_uniform(bound: float, *parameters: nn.Parameter | None) -> None:
    """Draw the parameters that are there uniformly from +-bound."""
    for parameter in parameters:
        if parameter is not None:
            with torch.no_grad():
                parameter.uniform_(-bound, bound)


def different(module: nn.Module, **usual: object) -> list[str]:
    """Return name=value for the settings that are not as usual."""
    return [f"{name}={getattr(module, name)!r}" for name, value in usual.items() if getattr(module, name) != value]
