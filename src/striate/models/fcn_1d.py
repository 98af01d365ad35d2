"""Networks for series (Wang, Yan, Oates: Time series classification from scratch with deep neural networks, 2017).

Both are stacks of the block of section II-B: a convolution of stride 1 that keeps the length, batch normalisation,
ReLU; then the mean over time and a dense layer. Departures: none. The paper prints no initialisation; weights are drawn
as in the authors' program (Glorot and Bengio 2010, uniform), biases are 0.
"""

from collections import OrderedDict
from typing import NamedTuple

from torch import nn

from striate.models._chain import Chain, chosen_size
from striate.models.resnet import Residual
from striate.nn import Conv

SIZE = (128,)


class Block(NamedTuple):
    """A convolutional block: its maps and its kernel's length."""

    maps: int
    kernel: int


FCN = (Block(128, 8), Block(256, 5), Block(128, 3))  # section II-B, figure 1b
KERNELS = (8, 5, 3)  # of the three blocks in each residual block
RESNET = (64, 128, 128)  # section II-C, figure 1c: the maps of the residual blocks


def fcn_1d(*, classes: int = 2, channels: int = 1, size: tuple[int, ...] | None = None) -> Chain:
    """Build the fully convolutional network: N x channels x T -> N x classes for any T; `size` is (T,), usually 128.

    Raises InputError.
    """
    length = chosen_size("fcn-1d", size, SIZE, (1,))
    parts: dict[str, nn.Module] = {}
    maps = channels
    for number, block in enumerate(FCN, 1):
        parts[f"block{number}"] = nn.Sequential(OrderedDict(_convolution(maps, block), relu=nn.ReLU(inplace=True)))
        maps = block.maps
    return _network("fcn-1d", parts, maps, classes, (channels, *length))


def resnet_1d(*, classes: int = 2, channels: int = 1, size: tuple[int, ...] | None = None) -> Chain:
    """Build the residual network of 11 layers: N x channels x T -> N x classes, T any length; `size` is (T,).

    A shortcut is batch normalised, after a convolution of length 1 where the maps grow. Raises InputError.
    """
    length = chosen_size("resnet-1d", size, SIZE, (1,))
    parts: dict[str, nn.Module] = {}
    inputs = channels
    for number, maps in enumerate(RESNET, 1):
        parts[f"block{number}"] = Residual(_branch(inputs, maps), _shortcut(inputs, maps))
        inputs = maps
    return _network("resnet-1d", parts, inputs, classes, (channels, *length))


def _network(name: str, parts: dict[str, nn.Module], maps: int, classes: int, input_size: tuple[int, ...]) -> Chain:
    parts["average"] = nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool1d(1), flatten=nn.Flatten()))
    parts["classifier"] = nn.Linear(maps, classes)
    model = Chain(name, parts, input_size=input_size, smallest=(1,))
    for module in model.modules():
        if isinstance(module, Conv | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def _convolution(inputs: int, block: Block, suffix: str = "") -> dict[str, nn.Module]:
    conv = Conv(inputs, block.maps, (block.kernel,), padding="same")  # of an even kernel the extra zero is at the end
    return {f"conv{suffix}": conv, f"norm{suffix}": nn.BatchNorm1d(block.maps)}


def _branch(inputs: int, maps: int) -> nn.Sequential:
    parts: dict[str, nn.Module] = {}
    for number, kernel in enumerate(KERNELS, 1):
        parts |= _convolution(inputs, Block(maps, kernel), str(number))
        if number < len(KERNELS):  # the last ReLU comes after the sum
            parts[f"relu{number}"] = nn.ReLU(inplace=True)
        inputs = maps
    return nn.Sequential(OrderedDict(parts))


def _shortcut(inputs: int, maps: int) -> nn.Module:
    if inputs == maps:
        return nn.BatchNorm1d(maps)
    return nn.Sequential(OrderedDict(_convolution(inputs, Block(maps, 1))))
