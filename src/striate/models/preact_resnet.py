"""Pre-activation ResNet (He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, 2016), tables 3, 4 and 5.

Batch normalisation and ReLU stand before the convolutions (figure 4e), so what is added to the signal reaches every
later unit unchanged. Departures: none. The 1 x 1 convolution at the start of a bottleneck has the stride, as in the
code that the authors released for the CIFAR networks; the paper says that bottlenecks follow its [1].
"""

from collections import OrderedDict
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from striate.errors import InputError
from striate.models._chain import Chain, chosen_size, require_flag
from striate.nn import Conv, MaxPool

EXPANSION = 4  # a bottleneck ends in 4 times as many maps


class Row(NamedTuple):
    """A network: the data its stem is for, the kind of unit, the units of each stage; the maps double at each stage."""

    stem: Literal["cifar", "imagenet"]
    unit: Literal["basic", "bottleneck"]
    units: tuple[int, ...]
    maps: int  # of the 3 x 3 convolutions of the first stage


TABLE = {
    "cifar-110": Row("cifar", "basic", (18, 18, 18), 16),  # 32 x 32, 16 x 16, 8 x 8
    "cifar-164": Row("cifar", "bottleneck", (18, 18, 18), 16),
    "cifar-1001": Row("cifar", "bottleneck", (111, 111, 111), 16),
    # footnote 3: the 152 layers of [1] with 16 more units at 28 x 28
    "200": Row("imagenet", "bottleneck", (3, 24, 36, 3), 64),  # 56 x 56, 28 x 28, 14 x 14, 7 x 7
}
SIZES = {"cifar": (32, 32), "imagenet": (224, 224)}
CLASSES = {"cifar": 10, "imagenet": 1000}


class Unit(nn.Module):
    """A residual unit, shortcut + F(a) with a = relu(norm(x)) (figure 4e); `maps` of its 3 x 3 convolutions.

    The shortcut is x; where the maps grow it is, for basic units, x at every second position with maps of zeros behind
    it (option A of [1]), for bottlenecks a projection of a ("these projection shortcuts are also with pre-activation",
    appendix). The network's first unit (`activated`) takes an input that is activated already.
    """

    def __init__(self, kind: str, inputs: int, maps: int, stride: int, *, activated: bool) -> None:
        super().__init__()
        outputs = maps if kind == "basic" else EXPANSION * maps
        self.stride, self.extra = stride, outputs - inputs
        self.activation = nn.Identity() if activated else _activation(inputs)
        self.branch = _basic(inputs, maps, stride) if kind == "basic" else _bottleneck(inputs, maps, stride)
        self.projection = _conv(inputs, outputs, 1, stride) if kind == "bottleneck" and self.extra else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output; nothing comes after the addition."""
        a = self.activation(x)
        if self.projection is not None:
            x = self.projection(a)
        elif self.extra:
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        output: Tensor = x + self.branch(a)
        return output


def preact_resnet(
    row: str,
    *,
    classes: int | None = None,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    recompute: bool = False,
) -> Chain:
    """Build "cifar-110", "cifar-164", "cifar-1001" or "200" (ImageNet): N x channels x H x W -> N x classes.

    `classes` is 10 or 1000 unless given. `recompute` runs each unit again in the backward pass instead of keeping what
    it computed: the deepest fit a small memory. Inputs may have any size, whatever `size`. Raises InputError.
    """
    if row not in TABLE:
        raise InputError(f"preact-resnet: the paper has the rows {', '.join(TABLE)}, got {row!r}")
    name, table = f"preact-resnet-{row}", TABLE[row]
    require_flag(name, "recompute", recompute)
    height, width = chosen_size(name, size, SIZES[table.stem], (1, 1))
    parts: dict[str, nn.Module] = {"conv1": _stem(table, channels)}
    if table.stem == "imagenet":
        parts["pool1"] = MaxPool(3, stride=2, padding=1)
    inputs, maps, units = table.maps, table.maps, []
    for stage, count in enumerate(table.units, 2):  # conv2_1 ..., as [1] names them
        for number in range(1, count + 1):
            stride = 2 if number == 1 and stage > 2 else 1
            units.append(f"conv{stage}_{number}")
            parts[units[-1]] = Unit(table.unit, inputs, maps, stride, activated=len(units) == 1)
            inputs = maps if table.unit == "basic" else EXPANSION * maps
        maps *= 2
    parts["activation"] = _activation(inputs)  # "right after its element-wise addition", appendix
    parts["average_pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    parts["fc"] = nn.Linear(inputs, CLASSES[table.stem] if classes is None else classes)
    model = Chain(
        name,
        parts,
        input_size=(channels, height, width),
        smallest=(1, 1),
        recompute=units if recompute else (),
    )
    _initialize(model)
    return model


def _conv(inputs: int, maps: int, kernel: int, stride: int = 1) -> Conv:
    return Conv(inputs, maps, kernel, stride=stride, padding=kernel // 2, bias=False)


def _activation(maps: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(maps), relu=nn.ReLU(inplace=True)))


def _stem(table: Row, channels: int) -> nn.Sequential:
    """Return conv1 with "the first activation right after conv1 and before splitting into two paths" (appendix)."""
    first = _conv(channels, table.maps, 7, 2) if table.stem == "imagenet" else _conv(channels, table.maps, 3)
    return nn.Sequential(OrderedDict(conv=first, activation=_activation(table.maps)))


def _basic(inputs: int, maps: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv1=_conv(inputs, maps, 3, stride), activation2=_activation(maps), conv2=_conv(maps, maps, 3))
    )


def _bottleneck(inputs: int, maps: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=_conv(inputs, maps, 1, stride),
            activation2=_activation(maps),
            conv2=_conv(maps, maps, 3),
            activation3=_activation(maps),
            conv3=_conv(maps, EXPANSION * maps, 1),
        )
    )


@torch.no_grad()
def _initialize(model: nn.Module) -> None:
    """Draw weights from N(0, 2 / fan-in), set biases to 0 ("as in [23]", appendix: its equation 10)."""
    for module in model.modules():
        if isinstance(module, Conv | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
