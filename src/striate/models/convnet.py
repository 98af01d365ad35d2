"""The typical convolutional network of the textbook's figure 5.9.

N blocks, each of M convolutions (and activations) and b pooling layers, then K dense layers. Departures: batch
normalisation between convolution and activation, which the figure does not show; `norm="none"` leaves it out.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from striate.errors import InputError
from striate.models._chain import recomputed, require_flag, require_images
from striate.nn import Conv, Dropout, MaxPool


class Block(NamedTuple):
    """One block of figure 5.9: M convolutions of so many maps, then b poolings of 2 x 2 (0 or more)."""

    convolutions: int
    maps: int
    pools: int = 1


BLOCKS = (Block(2, 32), Block(2, 64), Block(2, 128))


class ConvNet(nn.Module):
    """Blocks of convolutions and pooling, then dense layers: N x C x H x W -> logits N x classes."""

    def __init__(
        self, blocks: nn.Sequential, head: nn.Sequential, input_size: tuple[int, int, int], *, recompute: bool = False
    ) -> None:
        super().__init__()
        self.input_size, self.recompute = input_size, recompute
        self.blocks = blocks
        self.head = head

    def sequence(self) -> list[nn.Module]:
        """Return the parts that follow each other."""
        return [self.blocks, self.head]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, N x classes."""
        require_images("convnet", x, self.input_size, None)
        for block in self.blocks:
            x = recomputed(block, x) if self.recompute else block(x)
        logits: torch.Tensor = self.head(x)
        return logits

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what every block ("block1" ...) and part of the head gives, after ReLU; the last also as "logits"."""
        require_images("convnet", x, self.input_size, None)
        seen: dict[str, torch.Tensor] = {}
        for name, part in (*self.blocks.named_children(), *self.head.named_children()):
            x = part(x)
            seen[name.replace("relu", "dense")] = x
        seen["logits"] = x
        return seen


def convnet(
    *,
    classes: int = 10,
    channels: int = 1,
    size: tuple[int, int] | None = None,
    blocks: Sequence[Sequence[int]] = BLOCKS,
    dense: Sequence[int] = (),
    kernel: int = 3,
    norm: Literal["batch", "none"] = "batch",
    pool: Literal["flatten", "average"] = "average",
    dropout: float = 0.0,
    recompute: bool = False,
) -> ConvNet:
    """Build the network of figure 5.9 for images of `size` (default 32 x 32).

    `blocks` are (convolutions, maps, pools) each; `dense` the widths of hidden dense layers before the classifier;
    `pool` how the last maps become a vector: "flatten" as in the figure, or "average" over each map. Convolutions have
    same padding, ReLU and He initialisation. `recompute` runs each block again in the backward pass instead of keeping
    what it computed. Raises InputError when the pooling leaves no pixel.
    """
    rows = [_block(row) for row in _listed("blocks", blocks)]
    if any(not _whole(width, 1) for width in _listed("dense", dense)):
        raise InputError(f"convnet: dense must be a list of widths of 1 or more, such as [128], got {dense!r}")
    if norm not in {"batch", "none"} or pool not in {"flatten", "average"}:
        raise InputError(
            f"convnet: norm is 'batch' or 'none' and pool is 'flatten' or 'average', got {norm!r} and {pool!r}"
        )
    if not isinstance(dropout, int | float) or not 0.0 <= dropout < 1.0:
        raise InputError(f"convnet: dropout must be at least 0 and below 1, got {dropout!r}")
    height, width = size or (32, 32)
    layers, maps, (h, w) = nn.Sequential(), channels, (height, width)
    for number, row in enumerate(rows, 1):
        layers.add_module(f"block{number}", _convolutions(row, maps, kernel, norm))
        maps, h, w = row.maps, h >> row.pools, w >> row.pools
        if min(h, w) < 1:
            raise InputError(f"convnet: after block {number} nothing is left of {height} x {width}; use fewer pools")
    head = nn.Sequential()
    if pool == "average":
        head.add_module("average", nn.AdaptiveAvgPool2d(1))
        h = w = 1
    head.add_module("flatten", nn.Flatten())
    features = maps * h * w
    for number, width_ in enumerate(dense, 1):
        head.add_module(f"dense{number}", nn.Linear(features, width_))
        head.add_module(f"relu{number}", nn.ReLU(inplace=True))
        features = width_
    if dropout:
        head.add_module("dropout", Dropout(dropout))
    head.add_module("classifier", nn.Linear(features, classes))
    require_flag("convnet", "recompute", recompute)
    model = ConvNet(layers, head, (channels, height, width), recompute=recompute)
    _initialize(model)
    return model


def _block(row: Sequence[int]) -> Block:
    try:
        block = Block(*row)
    except TypeError:
        raise InputError(f"convnet: a block is (convolutions, maps, pools), got {row!r}") from None
    if not (_whole(block.convolutions, 1) and _whole(block.maps, 1) and _whole(block.pools, 0)):
        raise InputError(f"convnet: a block needs at least 1 convolution, 1 map and 0 pools, got {tuple(block)}")
    return block


def _listed(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputError(f"convnet: {name} must be a list, got {value!r}")
    return value


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _convolutions(row: Block, maps: int, kernel: int, norm: str) -> nn.Sequential:
    block = nn.Sequential()
    for number in range(1, row.convolutions + 1):
        block.add_module(f"conv{number}", Conv(maps, row.maps, (kernel,) * 2, padding="same", bias=norm == "none"))
        if norm == "batch":
            block.add_module(f"norm{number}", nn.BatchNorm2d(row.maps))
        block.add_module(f"relu{number}", nn.ReLU(inplace=True))
        maps = row.maps
    for number in range(1, row.pools + 1):
        block.add_module(f"pool{number}", MaxPool((2, 2)))
    return block


def _initialize(model: ConvNet) -> None:
    for module in model.modules():
        if isinstance(module, Conv | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out" if isinstance(module, Conv) else "fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.head[-1].weight, std=0.01)  # type: ignore[arg-type]
