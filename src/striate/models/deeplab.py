"""DeepLab v1 and v2 (Chen, Papandreou, Kokkinos, Murphy, Yuille, ICLR 2015 and PAMI 2018): atrous convolution.

`v1` is DeepLab-LargeFOV: VGG-16 with stride 8, fc6 of 3 x 3 places at rate 12 and 1024 maps (table 2 of the ICLR
paper). `v2` reads the maps at the rates 6, 12, 18 and 24 at once and adds the scores (atrous spatial pyramid pooling,
figure 7 of the PAMI paper), on VGG-16 or on ResNet-101. Pooling of 3 x 3, which keeps responses centred on every 8th
pixel, and pool5a are those of the released networks; the scores are then interpolated from exactly there.

Departures: none in the networks. The papers compare scores with labels subsampled 8 times; ours have the input's size
(`features` has the others). The ResNet's normalisation learns with the rest; the paper keeps that of ImageNet. The
dense CRF that follows is `striate.models.dense_crf`. `width` other than 1 is ours.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.models._chain import Chain, chosen_size, require_flag, require_fraction
from striate.models._segmentation import convolution, draw_he, draw_normal, require_width, scaled
from striate.nn import AvgPool, Conv, MaxPool


class Block(NamedTuple):
    """So many 3 x 3 convolutions of so many maps at a rate, then max pooling 3 x 3 with a stride."""

    convolutions: int
    maps: int
    rate: int
    pool_stride: int


class Stage(NamedTuple):
    """So many residual blocks; their 3 x 3 convolutions have `maps` maps and a rate, the first block a stride."""

    name: str
    blocks: int
    maps: int
    stride: int
    rate: int


class Row(NamedTuple):
    """How VGG-16 ends: the rates at which fc6 reads, and whether mean pooling stands before it."""

    rates: tuple[int, ...]
    pool5a: bool


BLOCKS = (Block(2, 64, 1, 2), Block(2, 128, 1, 2), Block(3, 256, 1, 2), Block(3, 512, 1, 1), Block(3, 512, 2, 1))
FC_MAPS = 1024  # ICLR, section 4.1
RATES = (6, 12, 18, 24)  # ASPP-L, PAMI, section 4.1.2
ROWS = {"v1": Row((12,), True), "v2": Row(RATES, False)}
STAGES = (  # ResNet-101, the strides of res4 and res5 turned into rates
    Stage("res2", 3, 64, 1, 1),
    Stage("res3", 4, 128, 2, 1),
    Stage("res4", 23, 256, 1, 2),
    Stage("res5", 3, 512, 1, 4),
)
STRIDE = 8
SCALES = (0.5, 0.75, 1.0)  # PAMI, section 4.1.1
SIZE = (321, 321)  # the crops of the released training networks


class DeepLab(Chain):
    """A DeepLab: N x C x H x W -> logits N x classes x H x W, H and W of 1 or more.

    `stride` is that of the scores. With `scales`, the network sees the picture at each of them and the largest score
    stands, pixel by pixel.
    """

    def __init__(
        self,
        name: str,
        parts: Mapping[str, nn.Module],
        *,
        input_size: tuple[int, int, int],
        stride: int = STRIDE,
        scales: tuple[float, ...] = (1.0,),
        recompute: bool = False,
    ) -> None:
        again = tuple(parts) if recompute else ()
        super().__init__(name, parts, input_size=input_size, smallest=(1, 1), recompute=again)
        self.stride, self.scales = stride, scales

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of every layer at scale 1 by the paper's name, and the logits, of all scales."""
        seen = super().features(x)
        seen["logits"] = self._fused(x, seen["logits"])
        return seen

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, N x classes x H x W."""
        return self._fused(x, super().forward(x))

    def _fused(self, x: Tensor, scores: Tensor) -> Tensor:
        """Return the logits, given the scores at scale 1."""
        size = (x.shape[2], x.shape[3])
        logits = enlarged(scores, size, self.stride)
        for scale in self.scales:
            if scale != 1.0:
                small = (ceil(size[0] * scale), ceil(size[1] * scale))
                scores = super().forward(F.interpolate(x, small, mode="bilinear", align_corners=True))
                again = F.interpolate(enlarged(scores, small, self.stride), size, mode="bilinear", align_corners=True)
                logits = torch.maximum(logits, again)
        return logits


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: branches that read the same maps, their scores added."""

    def __init__(self, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the branches' scores."""
        return torch.stack([branch(x) for branch in self.children()]).sum(0)


class Bottleneck(nn.Module):
    """A residual block: 1 x 1, 3 x 3 at a rate, 1 x 1 with four times the maps, added to the input (He et al. 2016).

    The layers bear the names of the released ResNets: branch2a, branch2b, branch2c, and branch1 where the shape of
    the input changes. The stride is that of the 1 x 1 layers, as in He's paper.
    """

    def __init__(self, inputs: int, maps: int, *, stride: int = 1, rate: int = 1) -> None:
        super().__init__()
        self.branch2a = Conv(inputs, maps, 1, stride=stride, bias=False)
        self.bn2a = nn.BatchNorm2d(maps)
        self.branch2b: nn.Module = Conv(maps, maps, 3, padding=rate, dilation=rate, bias=False)
        self.bn2b = nn.BatchNorm2d(maps)
        self.branch2c = Conv(maps, 4 * maps, 1, bias=False)
        self.bn2c = nn.BatchNorm2d(4 * maps)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != 4 * maps:
            self.shortcut.add_module("branch1", Conv(inputs, 4 * maps, 1, stride=stride, bias=False))
            self.shortcut.add_module("bn1", nn.BatchNorm2d(4 * maps))

    def forward(self, x: Tensor) -> Tensor:
        """Return 4 x maps maps."""
        y = F.relu(self.bn2a(self.branch2a(x)))
        y = F.relu(self.bn2b(self.branch2b(y)))
        return F.relu(self.bn2c(self.branch2c(y)) + self.shortcut(x))


def deeplab_vgg16(
    row: Literal["v1", "v2"] = "v1",
    *,
    classes: int = 21,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.5,
    multi_scale: bool = False,
    width: float = 1.0,
    recompute: bool = False,
) -> DeepLab:
    """Build DeepLab-LargeFOV (v1) or DeepLab-ASPP-L (v2) on VGG-16.

    dropout: after fc6 and fc7. multi_scale: the largest of the scores at half, three quarters and the whole of the
    size. width: factor on all hidden maps. recompute: trade time for memory. The score layer starts at N(0, 0.01).
    Raises InputError.
    """
    name = f"deeplab-{row}-vgg16" if row == "v2" else "deeplab-v1"
    width, dropout = require_width(name, width), require_fraction(name, "dropout", dropout)
    settings = _settings(name, channels, size, multi_scale, recompute)
    rates, pool5a = ROWS[row]
    parts: dict[str, nn.Module] = {}
    maps = channels
    for block, (convolutions, block_maps, rate, stride) in enumerate(BLOCKS, 1):
        for number in range(1, convolutions + 1):
            out = scaled(block_maps, width)
            parts[f"conv{block}_{number}"] = convolution(maps, out, padding=rate, dilation=rate)
            maps = out
        parts[f"pool{block}"] = MaxPool(3, stride=stride, padding=1, ceil=True)
    if pool5a:
        parts["pool5a"] = AvgPool(3, stride=1, padding=1, count_padding=True)
    hidden = scaled(FC_MAPS, width)

    def head(rate: int, suffix: str) -> dict[str, nn.Module]:
        return {
            f"fc6{suffix}": convolution(maps, hidden, padding=rate, dilation=rate, dropout=dropout),
            f"fc7{suffix}": convolution(hidden, hidden, 1, dropout=dropout),
            f"fc8{suffix}": Conv(hidden, classes, 1),
        }

    if len(rates) == 1:
        parts |= head(rates[0], "")
    else:
        heads = [head(rate, f"_{number}") for number, rate in enumerate(rates, 1)]
        parts["aspp"] = Pyramid({f"rate{rate}": _named(layers) for rate, layers in zip(rates, heads, strict=True)})
    return _finished(DeepLab(name, parts, **settings))


def deeplab_resnet101(
    *,
    classes: int = 21,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    multi_scale: bool = False,
    width: float = 1.0,
    recompute: bool = False,
) -> DeepLab:
    """Build DeepLab v2 on ResNet-101: stride 8, four 3 x 3 score layers at the rates 6, 12, 18 and 24, added.

    Options as for `deeplab_vgg16`. Raises InputError.
    """
    name = "deeplab-v2-resnet101"
    width, settings = require_width(name, width), _settings(name, channels, size, multi_scale, recompute)
    parts, maps = resnet_parts(STAGES, channels, width)
    branches = {f"rate{rate}": Conv(maps, classes, 3, padding=rate, dilation=rate) for rate in RATES}
    parts["aspp"] = Pyramid(branches)
    return _finished(DeepLab(name, parts, **settings))


def resnet_parts(stages: tuple[Stage, ...], channels: int, width: float) -> tuple[dict[str, nn.Module], int]:
    """Return the parts of a bottleneck ResNet without its classifier, and the maps that it ends in.

    Names are those of the released ResNets: res2a, res2b, res2c; res4a, res4b1 ... res4b22 where there are more.
    """
    maps = scaled(64, width)
    stem = nn.Sequential()
    stem.add_module("conv", Conv(channels, maps, 7, stride=2, padding=3, bias=False))
    stem.add_module("norm", nn.BatchNorm2d(maps))
    stem.add_module("relu", nn.ReLU(inplace=True))
    parts: dict[str, nn.Module] = {"conv1": stem, "pool1": MaxPool(3, stride=2, padding=1, ceil=True)}
    for stage in stages:
        inner = scaled(stage.maps, width)
        for number in range(stage.blocks):
            letter = "abc"[number] if stage.blocks <= 3 else f"b{number}" if number else "a"
            stride = stage.stride if number == 0 else 1
            parts[stage.name + letter] = Bottleneck(maps, inner, stride=stride, rate=stage.rate)
            maps = 4 * inner
    return parts, maps


def enlarged(scores: Tensor, size: tuple[int, int], stride: int = STRIDE) -> Tensor:
    """Interpolate scores of every `stride`-th pixel, the first of them pixel 0, to all pixels of a size.

    Pixels beyond the last score, which a ResNet can leave, take that score.
    """
    for axis in (2, 3):
        if stride * (scores.shape[axis] - 1) + 1 < size[axis - 2]:
            scores = torch.cat([scores, scores.narrow(axis, scores.shape[axis] - 1, 1)], axis)
    places = [stride * (n - 1) + 1 for n in scores.shape[2:]]
    full = F.interpolate(scores, places, mode="bilinear", align_corners=True)
    return full[:, :, : size[0], : size[1]]


def _named(layers: Mapping[str, nn.Module]) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, layer in layers.items():
        sequence.add_module(name, layer)
    return sequence


def _settings(
    name: str, channels: int, size: tuple[int, int] | None, multi_scale: bool, recompute: bool
) -> dict[str, Any]:
    """Return the arguments of a DeepLab, checked before anything is built."""
    return {
        "input_size": (channels, *chosen_size(name, size, SIZE, (1, 1))),
        "scales": SCALES if require_flag(name, "multi_scale", multi_scale) else (1.0,),
        "recompute": require_flag(name, "recompute", recompute),
    }


def _finished(model: DeepLab) -> DeepLab:
    """Draw the weights: He's distribution, but N(0, 0.01) for the scores, as in the released training networks."""
    draw_he(model)
    last = model.get_submodule(model.order[-1])
    branches = list(last.children()) if isinstance(last, Pyramid) else [last]
    for branch in branches:
        draw_normal([m for m in branch.modules() if isinstance(m, Conv)][-1], 0.01)
    return model
