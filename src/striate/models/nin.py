"""Network in Network (Lin, Chen, Yan, 2013): mlpconv layers and global average pooling (sections 3.1 and 3.2).

The paper draws the structure (figure 2) and leaves sizes and initialisation to its released definitions, which the
tables follow: NIN/cifar-10_def of github.com/mavenlin/cuda-convnet, and for ImageNet, which the paper has no experiment
on, the author's model nin_imagenet of the Caffe Model Zoo. Departures: none.
"""

from collections import OrderedDict
from typing import NamedTuple

from torch import nn

from striate.errors import InputError
from striate.models._chain import Chain, chosen_size, require_fraction
from striate.nn import Conv, Dropout, MaxPool


class MLPConv(NamedTuple):
    """An mlpconv layer: a convolution and two layers of 1 x 1 that mix its maps (cccp), each followed by ReLU.

    `maps` are those of the three; None are as many as there are classes. `deviations` are those of their first weights.
    `dropout` follows the layer and its pooling; the last layer has neither.
    """

    name: str
    kernel: int
    maps: tuple[int, int, int | None]
    stride: int = 1
    padding: int = 0
    deviations: tuple[float, float, float] = (0.05, 0.05, 0.05)
    dropout: bool = False


class Network(NamedTuple):
    """One released definition: its layers, the size of its images, and the smallest that leaves a position."""

    layers: tuple[MLPConv, ...]
    size: tuple[int, int]
    smallest: tuple[int, int]


NETWORKS = {
    "cifar10": Network(
        (  # output of 32 x 32 ->
            MLPConv("mlpconv1", 5, (192, 160, 96), padding=2, dropout=True),  # 96 @ 32 x 32, pooled 16 x 16
            MLPConv("mlpconv2", 5, (192, 192, 192), padding=2, dropout=True),  # 192 @ 16 x 16, pooled 8 x 8
            MLPConv("mlpconv3", 3, (192, 192, None), padding=1),  # 10 @ 8 x 8
        ),
        size=(32, 32),
        smallest=(4, 4),
    ),
    "imagenet": Network(
        (  # output of 224 x 224 ->
            MLPConv("mlpconv1", 11, (96, 96, 96), stride=4, deviations=(0.01, 0.05, 0.05)),  # 96 @ 54 x 54, pooled 27
            MLPConv("mlpconv2", 5, (256, 256, 256), padding=2),  # 256 @ 27 x 27, pooled 13 x 13
            MLPConv("mlpconv3", 3, (384, 384, 384), padding=1, deviations=(0.01, 0.05, 0.05), dropout=True),  # pooled 6
            MLPConv("mlpconv4", 3, (1024, 1024, None), padding=1, deviations=(0.05, 0.05, 0.01)),  # 1000 @ 6 x 6
        ),
        size=(224, 224),
        smallest=(39, 39),
    ),
}


def nin(
    row: str,
    *,
    classes: int,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.5,
) -> Chain:
    """Build the network for "cifar10" (size 32 x 32, at least 4 x 4) or "imagenet" (224 x 224, at least 39 x 39).

    N x C x H x W of any size from the smallest on -> logits N x classes, the means of the last layer's maps, one map
    for each class; as every layer's they are after ReLU, so no logit is negative. dropout: where the definition has it.
    Raises InputError.
    """
    if row not in NETWORKS:
        raise InputError(f"nin: the rows are {' and '.join(NETWORKS)}, got {row!r}")
    network, name = NETWORKS[row], f"nin-{row}"
    height, width = chosen_size(name, size, network.size, network.smallest)
    dropout = require_fraction(name, "dropout", dropout)
    parts: dict[str, nn.Module] = {}
    maps, cccp = channels, 1
    for number, layer in enumerate(network.layers, 1):
        widths = tuple(classes if width is None else width for width in layer.maps)
        parts[layer.name] = _mlpconv(layer, (f"conv{number}", f"cccp{cccp}", f"cccp{cccp + 1}"), maps, widths)
        maps, cccp = widths[-1], cccp + 2
        if layer is not network.layers[-1]:
            parts[f"pool{number}"] = MaxPool(3, stride=2, ceil=True)  # 32 -> 16 and 54 -> 27: windows may hang over
        if layer.dropout:
            parts[f"dropout{number}"] = Dropout(dropout)
    parts["average"] = nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()))
    return Chain(name, parts, input_size=(channels, height, width), smallest=network.smallest)


def _mlpconv(layer: MLPConv, names: tuple[str, ...], in_maps: int, maps: tuple[int, ...]) -> nn.Sequential:
    parts: dict[str, nn.Module] = {}
    for name, out_maps, deviation in zip(names, maps, layer.deviations, strict=True):
        if name.startswith("conv"):
            conv = Conv(in_maps, out_maps, layer.kernel, stride=layer.stride, padding=layer.padding)
        else:
            conv = Conv(in_maps, out_maps, 1)
        nn.init.normal_(conv.weight, std=deviation)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        parts[name] = nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU(inplace=True)))
        in_maps = out_maps
    return nn.Sequential(OrderedDict(parts))
