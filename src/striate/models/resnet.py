"""ResNet (He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015), table 1, for 224 x 224 images.

Departures: none in the rows 18 to 152. In the rows v1.5 the stride of conv3_1, conv4_1 and conv5_1 is in the 3 x 3
convolution; the authors' released networks have it in the 1 x 1 before (table 1 says only that these blocks have it).
"""

from collections import OrderedDict
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models._chain import Chain, chosen_size, require_flag
from striate.nn import Conv, MaxPool

SIZE = (224, 224)
MAPS = {"conv2": 64, "conv3": 128, "conv4": 256, "conv5": 512}  # of the 3 x 3 convolutions of each stage, table 1
EXPANSION = 4  # a bottleneck ends in 4 times as many maps


class Row(NamedTuple):
    """One column of table 1: the kind of block, how many of them in each stage, and where a bottleneck's stride is."""

    block: Literal["basic", "bottleneck"]
    conv2: int  # 56 x 56
    conv3: int  # 28 x 28
    conv4: int  # 14 x 14
    conv5: int  # 7 x 7
    stride_in: Literal["1x1", "3x3"] = "1x1"


TABLE1 = {
    "18": Row("basic", 2, 2, 2, 2),
    "34": Row("basic", 3, 4, 6, 3),
    "50": Row("bottleneck", 3, 4, 6, 3),
    "101": Row("bottleneck", 3, 4, 23, 3),
    "152": Row("bottleneck", 3, 8, 36, 3),
    "50-v1.5": Row("bottleneck", 3, 4, 6, 3, "3x3"),
    "101-v1.5": Row("bottleneck", 3, 4, 23, 3, "3x3"),
    "152-v1.5": Row("bottleneck", 3, 8, 36, 3, "3x3"),
}


class Residual(nn.Module):
    """A building block: relu(F(x) + shortcut(x)) (figure 2, equations 1 and 2)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.relu = branch, shortcut, nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, of the shape of the shortcut's."""
        output: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return output


class GlobalAverage(nn.Sequential):
    """The mean of every map: N x C x H x W -> N x C."""

    def __init__(self) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def conv(inputs: int, maps: int, kernel: int, stride: int = 1) -> Conv:
    """Return a convolution with padding that keeps the size at stride 1; batch normalisation follows, so no bias."""
    return Conv(inputs, maps, kernel, stride=stride, padding=kernel // 2, bias=False)


def basic(inputs: int, maps: int, stride: int) -> nn.Sequential:
    """Return F of a block of two 3 x 3 convolutions (figure 5, left)."""
    return nn.Sequential(
        OrderedDict(
            conv1=conv(inputs, maps, 3, stride),
            norm1=nn.BatchNorm2d(maps),  # after each convolution and before activation, section 3.4
            relu1=nn.ReLU(inplace=True),
            conv2=conv(maps, maps, 3),
            norm2=nn.BatchNorm2d(maps),
        )
    )


def bottleneck(inputs: int, maps: int, stride: int, stride_in: Literal["1x1", "3x3"]) -> nn.Sequential:
    """Return F of a block of 1 x 1, 3 x 3 and 1 x 1 convolutions (figure 5, right)."""
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    return nn.Sequential(
        OrderedDict(
            conv1=conv(inputs, maps, 1, first),
            norm1=nn.BatchNorm2d(maps),
            relu1=nn.ReLU(inplace=True),
            conv2=conv(maps, maps, 3, second),
            norm2=nn.BatchNorm2d(maps),
            relu2=nn.ReLU(inplace=True),
            conv3=conv(maps, EXPANSION * maps, 1),
            norm3=nn.BatchNorm2d(EXPANSION * maps),
        )
    )


def resnet(
    row: str,
    *,
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    recompute: bool = False,
) -> Chain:
    """Build a row of table 1 ("18" to "152", or "50-v1.5" and so on): N x channels x H x W -> N x classes.

    Shortcuts are option B: projections where the number of maps grows, identities elsewhere. `recompute` runs each
    block again in the backward pass instead of keeping what it computed. Inputs may have any size, whatever `size`.
    Raises InputError.
    """
    if row not in TABLE1:
        raise InputError(f"resnet: table 1 has the rows {', '.join(TABLE1)}, got {row!r}")
    name, table = f"resnet-{row}", TABLE1[row]
    require_flag(name, "recompute", recompute)
    height, width = chosen_size(name, size, SIZE, (1, 1))
    stem = OrderedDict(conv=conv(channels, 64, 7, 2), norm=nn.BatchNorm2d(64), relu=nn.ReLU(inplace=True))
    parts: dict[str, nn.Module] = {
        "conv1": nn.Sequential(stem),  # 112 x 112
        "pool1": MaxPool(3, stride=2, padding=1),  # 56 x 56; the first line of conv2_x in table 1
    }
    inputs, blocks = 64, []
    for stage, maps in MAPS.items():
        for number in range(1, getattr(table, stage) + 1):
            stride = 2 if number == 1 and stage != "conv2" else 1  # below table 1
            blocks.append(f"{stage}_{number}")
            parts[blocks[-1]] = _block(table, inputs, maps, stride)
            inputs = maps if table.block == "basic" else EXPANSION * maps
    parts["average_pool"] = GlobalAverage()
    parts["fc"] = nn.Linear(inputs, classes)
    model = Chain(
        name,
        parts,
        input_size=(channels, height, width),
        smallest=(1, 1),
        recompute=blocks if recompute else (),
    )
    initialize(model)
    return model


@torch.no_grad()
def initialize(model: nn.Module) -> None:
    """Draw weights from N(0, 2 / fan-in), set biases to 0, as section 3.4 takes from its [13]: equation 10 there.

    Batch normalisation starts as the identity; its last scale in a block is 1 too.
    """
    for module in model.modules():
        if isinstance(module, Conv | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _block(table: Row, inputs: int, maps: int, stride: int) -> Residual:
    if table.block == "basic":
        branch, outputs = basic(inputs, maps, stride), maps
    else:
        branch, outputs = bottleneck(inputs, maps, stride, table.stride_in), EXPANSION * maps
    if stride == 1 and inputs == outputs:
        return Residual(branch, nn.Identity())
    projection = OrderedDict(conv=conv(inputs, outputs, 1, stride), norm=nn.BatchNorm2d(outputs))
    return Residual(branch, nn.Sequential(projection))
