"""GoogLeNet (Szegedy et al.: Going Deeper with Convolutions, 2014), table 1: the first Inception network.

Departures of the row `paper`: none in what the paper states. It leaves open the constants of the local response
normalisation and the initialisation; both are those of the replication in Caffe (bvlc_googlenet), which thanks the
first author for his help. The row `torchvision` is that library's variant; its card lists what differs.
"""

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models._chain import Chain, chosen_size, require_flag, require_fraction, require_images
from striate.nn import AvgPool, Conv, Dropout, LocalResponseNorm, MaxPool

SIZE = (224, 224)  # section 5
SMALLEST = (31, 31)  # five halvings leave one position
AUXILIARIES = {"auxiliary_4a": "inception_4a", "auxiliary_4d": "inception_4d"}  # and where they branch off (section 5)
AUXILIARY_WEIGHT = 0.3  # section 5: "the losses of the auxiliary classifiers were weighted by 0.3"


class Module(NamedTuple):
    """One inception row of table 1: the maps of its convolutions, under the paper's column names."""

    name: str
    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool_proj: int

    @property
    def maps(self) -> int:
        """Maps of the module's output: those of its four branches, one after the other."""
        return self.conv1x1 + self.conv3x3 + self.conv5x5 + self.pool_proj


CONV1, REDUCE2, CONV2 = 64, 64, 192  # table 1: 7 x 7 / 2; #3x3 reduce and 3 x 3 / 1

TABLE1 = (  # of 224 x 224: conv1 64 @ 112 x 112, pool1 56 x 56, conv2 192 @ 56 x 56, pool2 28 x 28
    Module("inception_3a", 64, 96, 128, 16, 32, 32),  # 256 @ 28 x 28
    Module("inception_3b", 128, 128, 192, 32, 96, 64),  # 480 @ 28 x 28, then pool3: 14 x 14
    Module("inception_4a", 192, 96, 208, 16, 48, 64),  # 512 @ 14 x 14
    Module("inception_4b", 160, 112, 224, 24, 64, 64),  # 512 @ 14 x 14
    Module("inception_4c", 128, 128, 256, 24, 64, 64),  # 512 @ 14 x 14
    Module("inception_4d", 112, 144, 288, 32, 64, 64),  # 528 @ 14 x 14
    Module("inception_4e", 256, 160, 320, 32, 128, 128),  # 832 @ 14 x 14, then pool4: 7 x 7
    Module("inception_5a", 256, 160, 320, 32, 128, 128),  # 832 @ 7 x 7
    Module("inception_5b", 384, 192, 384, 48, 128, 128),  # 1024 @ 7 x 7
)
POOL_AFTER = {"inception_3b": "pool3", "inception_4e": "pool4"}


class Variant(NamedTuple):
    """What differs between the paper's network and torchvision's."""

    five: int  # the kernel of the "5 x 5" branch
    batch_norm: bool  # instead of biases
    response_norm: bool
    pool4: int  # the window of the fourth pooling
    auxiliary_grid: int | None  # side of the maps that the auxiliary classifiers average to; None: 5 x 5 windows
    dropout: float


VARIANTS = {
    "paper": Variant(five=5, batch_norm=False, response_norm=True, pool4=3, auxiliary_grid=None, dropout=0.4),
    "torchvision": Variant(five=3, batch_norm=True, response_norm=False, pool4=2, auxiliary_grid=4, dropout=0.2),
}


class Inception(nn.Module):
    """A module of figure 2b: four branches over the same maps, their outputs one after the other (table 1's order)."""

    def __init__(self, row: Module, in_maps: int, variant: Variant) -> None:
        super().__init__()
        self.conv1x1 = _convolution(in_maps, row.conv1x1, 1, variant)
        self.reduce3x3 = _convolution(in_maps, row.reduce3x3, 1, variant)
        self.conv3x3 = _convolution(row.reduce3x3, row.conv3x3, 3, variant)
        self.reduce5x5 = _convolution(in_maps, row.reduce5x5, 1, variant)
        self.conv5x5 = _convolution(row.reduce5x5, row.conv5x5, variant.five, variant)
        self.pool = MaxPool(3, stride=1, padding=1)
        self.pool_proj = _convolution(in_maps, row.pool_proj, 1, variant)

    def forward(self, x: Tensor) -> Tensor:
        """Return the four branches' maps at the size of x."""
        branches = (
            self.conv1x1(x),
            self.conv3x3(self.reduce3x3(x)),
            self.conv5x5(self.reduce5x5(x)),
            self.pool_proj(self.pool(x)),
        )
        return torch.cat(branches, 1)


class Auxiliary(nn.Module):
    """A classifier on the way, for training only (section 5): N x D x h x w -> logits N x classes.

    `size` (h, w) of the maps is fixed when it is built, unless it averages to a grid; raises InputError for another.
    """

    def __init__(self, in_maps: int, size: tuple[int, int], classes: int, variant: Variant) -> None:
        super().__init__()
        self.built_for = size
        if variant.auxiliary_grid:
            self.pool: nn.Module = nn.AdaptiveAvgPool2d(variant.auxiliary_grid)
            positions = variant.auxiliary_grid**2
        else:  # 5 x 5 windows, stride 3: 4 x 4 of the paper's 14 x 14; on maps below 5 x 5 the window is the map
            windows = (min(5, size[0]), min(5, size[1]))
            self.pool = AvgPool(windows, stride=3)
            positions = ((size[0] - windows[0]) // 3 + 1) * ((size[1] - windows[1]) // 3 + 1)
        self.conv = _convolution(in_maps, 128, 1, variant)
        self.fc = nn.Linear(128 * positions, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = Dropout(0.7)
        self.linear = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        h, w = x.shape[2:]
        x = self.conv(self.pool(x)).flatten(1)
        if x.shape[1] != self.fc.in_features:
            built = f"{self.built_for[0]} x {self.built_for[1]}"
            raise InputError(
                f"googlenet: the auxiliary classifiers were built for maps of {built} and got {h} x {w}; build the "
                "network with the size of the training images (size=(H, W)) or without them (auxiliaries=False)"
            )
        logits: Tensor = self.linear(self.dropout(self.relu(self.fc(x))))
        return logits


class GoogLeNet(Chain):
    """The chain of table 1 with its auxiliary classifiers: N x C x H x W of 31 x 31 or more -> logits N x classes."""

    def __init__(self, name: str, parts: dict[str, nn.Module], auxiliaries: dict[str, nn.Module], **words: Any) -> None:
        super().__init__(name, parts, smallest=SMALLEST, **words)
        self.auxiliary_weights = dict.fromkeys(auxiliaries, AUXILIARY_WEIGHT)
        for auxiliary_name, auxiliary in auxiliaries.items():
            self.add_module(auxiliary_name, auxiliary)

    def forward_auxiliaries(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits and those of the auxiliary classifiers, by the names of `auxiliary_weights`."""
        require_images(self.name, x, self.input_size, self.smallest)
        branches = {AUXILIARIES[name]: name for name in self.auxiliary_weights}
        seen: dict[str, Tensor] = {}
        for part in self.order:
            x = self.run_part(part, x)
            if part in branches:
                seen[branches[part]] = self.get_submodule(branches[part])(x)
        return x, seen


def googlenet(
    row: str = "paper",
    *,
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float | None = None,
    auxiliaries: bool = True,
    recompute: bool = False,
) -> GoogLeNet:
    """Build GoogLeNet for training on images of `size` (default 224 x 224, at least 31 x 31).

    row: "paper" or "torchvision". dropout: before the last layer, by default the row's (0.4; 0.2). auxiliaries: the two
    classifiers on the way, whose 0.7 dropout is fixed. recompute: the modules run again in the backward pass, which
    saves memory. Raises InputError.
    """
    if row not in VARIANTS:
        raise InputError(f"googlenet: the rows are {' and '.join(VARIANTS)}, got {row!r}")
    variant = VARIANTS[row]
    name = "googlenet" if row == "paper" else f"googlenet-{row}"
    height, width = chosen_size(name, size, SIZE, SMALLEST)
    dropout = require_fraction(name, "dropout", variant.dropout if dropout is None else dropout)
    parts = _parts(variant, channels, classes, dropout)
    heads: dict[str, nn.Module] = {}
    if require_flag(name, "auxiliaries", auxiliaries):
        maps = {module.name: module.maps for module in TABLE1}
        at_4 = (_halved(height, 4), _halved(width, 4))
        heads = {head: Auxiliary(maps[part], at_4, classes, variant) for head, part in AUXILIARIES.items()}
    heavy = [part for part in parts if part.startswith(("conv2", "inception"))]
    model = GoogLeNet(
        name,
        parts,
        heads,
        input_size=(channels, height, width),
        recompute=heavy if require_flag(name, "recompute", recompute) else (),
    )
    _initialize(model, variant)
    return model


def _parts(variant: Variant, channels: int, classes: int, dropout: float) -> dict[str, nn.Module]:
    """Return the parts of table 1 in their order."""
    parts: dict[str, nn.Module] = {"conv1": _convolution(channels, CONV1, 7, variant, stride=2), "pool1": _pool()}
    if variant.response_norm:
        parts["norm1"] = _response_norm()
    parts["conv2"] = nn.Sequential(
        OrderedDict(reduce=_convolution(CONV1, REDUCE2, 1, variant), conv=_convolution(REDUCE2, CONV2, 3, variant))
    )
    if variant.response_norm:
        parts["norm2"] = _response_norm()
    parts["pool2"] = _pool()
    maps = CONV2
    for row in TABLE1:
        parts[row.name] = Inception(row, maps, variant)
        maps = row.maps
        if row.name in POOL_AFTER:
            pool = POOL_AFTER[row.name]
            parts[pool] = _pool(variant.pool4) if pool == "pool4" else _pool()
    parts["pool5"] = nn.AdaptiveAvgPool2d(1)  # 7 x 7 / 1 of the paper's 7 x 7
    parts["dropout"] = Dropout(dropout)
    parts["linear"] = nn.Sequential(OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(maps, classes)))
    return parts


def _convolution(in_maps: int, maps: int, kernel: int, variant: Variant, stride: int = 1) -> nn.Sequential:
    """Convolution and ReLU ("all the convolutions use rectified linear activation"), sizes kept at stride 1."""
    conv = Conv(in_maps, maps, kernel, stride=stride, padding=kernel // 2, bias=not variant.batch_norm)
    parts: dict[str, nn.Module] = {"conv": conv}
    if variant.batch_norm:
        parts["norm"] = nn.BatchNorm2d(maps, eps=0.001)
    parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(OrderedDict(parts))


def _pool(window: int = 3) -> MaxPool:
    """Pooling with stride 2 whose last window may hang over: 112 -> 56 as in table 1, not 55."""
    return MaxPool(window, stride=2, ceil=True)


def _response_norm() -> LocalResponseNorm:
    # The paper states no constants. Caffe's replication: size 5, alpha 1e-4 divided by the size, beta 0.75, k 1.
    return LocalResponseNorm(5, alpha=1e-4 / 5, beta=0.75, k=1.0)


def _halved(n: int, times: int) -> int:
    """Positions on an axis after conv1 (rounded up) and `times` - 1 poolings (which round down)."""
    n = (n + 1) // 2
    for _ in range(times - 1):
        n //= 2
    return n


def _initialize(model: GoogLeNet, variant: Variant) -> None:
    """Draw the weights: as Caffe's replication for the paper's network, which states nothing; as torchvision for its.

    Caffe's "xavier" is uniform in +-sqrt(3 / fan-in); the biases start at 0.2, those of the classifiers at 0.
    """
    for name, module in model.named_modules():
        if not isinstance(module, Conv | nn.Linear):
            continue
        if variant.batch_norm:
            nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)
            continue
        nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.0 if name.endswith("linear") else 0.2)
