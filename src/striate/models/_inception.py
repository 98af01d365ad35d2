"""How the later Inception papers draw a network: boxes, branches, filter concatenation; a box makes its own module.

The tables of `inception_v3`, `inception_v4` and `inception_resnet` are written in these words; the number of maps that
come in is never written down, each box derives what it gives from what it gets.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from striate.nn import AvgPool, Conv, MaxPool

# The released networks' (`inception_v3_parameters` and the argument scopes of TF-Slim); the papers do not state it.
BATCH_NORM_EPSILON = 0.001


class Box(Protocol):
    """A part of a figure."""

    def make(self, channels: int) -> tuple[nn.Module, int]:
        """Return the module for so many input maps, and how many maps it gives."""
        ...


class Convolution(NamedTuple):
    """A convolution, batch normalisation and ReLU: so many filters; "valid" padding is the V of the figures."""

    filters: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padding: Literal["same", "valid"] = "same"

    def make(self, channels: int) -> tuple[nn.Module, int]:
        """Return the module for so many input maps, and how many maps it gives."""
        return ConvNorm(channels, self.filters, self.kernel, self.stride, self.padding), self.filters


class Pooling(NamedTuple):
    """Pooling over 3 x 3: the mean at stride 1 (of the pixels within the image), or the maximum at stride 2."""

    reduce: Literal["average", "max"]

    def make(self, channels: int) -> tuple[nn.Module, int]:
        """Return the module for so many input maps, and how many maps it gives."""
        if self.reduce == "average":
            return AvgPool(3, stride=1, padding="same"), channels
        return MaxPool(3, stride=2), channels


class Concat(NamedTuple):
    """Branches of boxes side by side, whose outputs are concatenated in this order."""

    branches: tuple[tuple[Box, ...], ...]

    def make(self, channels: int) -> tuple[nn.Module, int]:
        """Return the module for so many input maps, and how many maps it gives."""
        made = [_in_sequence(branch, channels) for branch in self.branches]
        return FilterConcat(module for module, _ in made), sum(maps for _, maps in made)


class Row(NamedTuple):
    """A row of a network's table: the name of its part; with `times`, as many in sequence: name1, name2, ..."""

    name: str
    box: Box
    times: int | None = None


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self, channels: int, filters: int, kernel: int | tuple[int, int], stride: int = 1, padding: str = "same"
    ) -> None:
        super().__init__()
        self.conv = Conv(channels, filters, kernel, stride=stride, padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(filters, eps=BATCH_NORM_EPSILON)
        self.relu = nn.ReLU(inplace=True)


class FilterConcat(nn.Module):
    """The outputs of branches with the same input, one after the other along the channels."""

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        for number, branch in enumerate(branches, 1):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenation, N x all maps x H' x W'."""
        return torch.cat([branch(x) for branch in self.children()], 1)


def parts_of(table: Iterable[Row], channels: int) -> tuple[dict[str, nn.Module], dict[str, int]]:
    """Return the parts of a table for so many input maps, and how many maps each gives, by name and in order."""
    parts: dict[str, nn.Module] = {}
    maps: dict[str, int] = {}
    for row in table:
        names = [row.name] if row.times is None else [f"{row.name}{number}" for number in range(1, row.times + 1)]
        for name in names:
            parts[name], channels = row.box.make(channels)
            maps[name] = channels
    return parts, maps


def _in_sequence(boxes: Iterable[Box], channels: int) -> tuple[nn.Module, int]:
    modules: list[nn.Module] = []
    for box in boxes:
        module, channels = box.make(channels)
        modules.append(module)
    return nn.Sequential(*modules), channels
