"""ResNet for CIFAR-10 (He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015), section 4.2, table 6.

6n + 2 layers: a 3 x 3 convolution, three stages of n blocks with two 3 x 3 convolutions each, global average, dense
layer. All shortcuts are option A, without parameters. Departures: none.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import pad

from striate.errors import InputError
from striate.models._chain import Chain, chosen_size, require_flag
from striate.models.resnet import GlobalAverage, Residual, basic, conv, initialize

SIZE = (32, 32)
TABLE6 = {"20": 3, "32": 5, "44": 7, "56": 9, "110": 18, "1202": 200}  # layers: n
MAPS = {"conv2": 16, "conv3": 32, "conv4": 64}  # 32 x 32, 16 x 16, 8 x 8; the stages are named as in table 1


class PaddedShortcut(nn.Module):
    """Option A (section 3.3): the identity at every second row and column, with maps of zeros behind it."""

    def __init__(self, extra: int, stride: int = 2) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return N x (C + extra) x ceil(H / stride) x ceil(W / stride)."""
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))

    def extra_repr(self) -> str:
        """Return the number of maps of zeros and the stride."""
        return f"extra={self.extra}, stride={self.stride}"


def resnet_cifar(
    row: str,
    *,
    classes: int = 10,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    recompute: bool = False,
) -> Chain:
    """Build a row of table 6 ("20", "32", "44", "56", "110" or "1202"): N x channels x H x W -> N x classes.

    `recompute` runs each block again in the backward pass instead of keeping what it computed: the deepest fit a small
    memory. Inputs may have any size, whatever `size`. Raises InputError.
    """
    if row not in TABLE6:
        raise InputError(f"resnet-cifar: table 6 has the rows {', '.join(TABLE6)}, got {row!r}")
    name = f"resnet-cifar-{row}"
    require_flag(name, "recompute", recompute)
    height, width = chosen_size(name, size, SIZE, (1, 1))
    inputs, blocks = MAPS["conv2"], []
    stem = OrderedDict(conv=conv(channels, inputs, 3), norm=nn.BatchNorm2d(inputs), relu=nn.ReLU(inplace=True))
    parts: dict[str, nn.Module] = {"conv1": nn.Sequential(stem)}
    for stage, maps in MAPS.items():
        for number in range(1, TABLE6[row] + 1):
            grows = maps != inputs  # with the first block of conv3 and conv4, which halve the size
            shortcut = PaddedShortcut(maps - inputs) if grows else nn.Identity()
            blocks.append(f"{stage}_{number}")
            parts[blocks[-1]] = Residual(basic(inputs, maps, 2 if grows else 1), shortcut)
            inputs = maps
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
