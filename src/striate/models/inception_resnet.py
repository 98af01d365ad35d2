"""Inception-ResNet-v1 and v2 (Szegedy, Ioffe, Vanhoucke, Alemi, 2016, arXiv 1602.07261), figure 15 and table 1.

Version 1 has the modules of figures 14, 10, 7, 11, 12 and 13, version 2 those of figures 3, 16, 7, 17, 18 and 19; the
stem of version 2 and the reduction of figure 7 are Inception-v4's.

Departures, where a figure does not fit the others (version 1: none):

- The filter expansions of version 2 give as many maps as they are added to: 1152 at 17 x 17 (384 of the stem + 384 +
  384 of the reduction), where figure 17 prints 1154; 2144 at 8 x 8 (1152 + 384 + 288 + 320), where figure 19 prints
  2048. Section 3.2: the expansion is there "to match the depth of the input".
- Figure 3 prints no stride at the last convolution of the stem; it is 2, as its output of 35 x 35 needs.

Residuals are scaled by 0.17, 0.10 and 0.20, as the authors released it; section 3.3 asks for 0.1 to 0.3. The expansion
has neither activation nor batch normalisation (section 3.2), so it has a bias.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models._inception import Concat, Convolution, Pooling, Row
from striate.models.inception_v4 import STEM, Inception, reduction_a
from striate.nn import Conv

MAX = Pooling("max")


class Residual(NamedTuple):
    """Branches, a linear 1 x 1 convolution to the depth of the input, and the sum of input and scaled result."""

    branches: tuple[tuple[Convolution, ...], ...]
    scale: float

    def make(self, channels: int) -> tuple[nn.Module, int]:
        """Return the module for so many input maps, and how many maps it gives: as many."""
        branches, maps = Concat(self.branches).make(channels)
        return InceptionResNet(branches, maps, channels, self.scale), channels


class InceptionResNet(nn.Module):
    """ReLU(x + scale * expansion(branches(x))), figures 10 and 20; the ReLU below is that of the module before."""

    def __init__(self, branches: nn.Module, maps: int, channels: int, scale: float) -> None:
        super().__init__()
        self.branches = branches
        self.expansion = Conv(maps, channels, 1)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return as many maps of the same size."""
        return torch.relu(x + self.scale * self.expansion(self.branches(x)))


STEM_V1 = (  # figure 14; output, 3 x 299 x 299 ->
    Row("stem_conv1", Convolution(32, 3, 2, "valid")),  # 32 x 149 x 149
    Row("stem_conv2", Convolution(32, 3, 1, "valid")),  # 32 x 147 x 147
    Row("stem_conv3", Convolution(64, 3)),  # 64 x 147 x 147
    Row("stem_pool", MAX),  # 64 x 73 x 73
    Row("stem_conv4", Convolution(80)),  # 80 x 73 x 73
    Row("stem_conv5", Convolution(192, 3, 1, "valid")),  # 192 x 71 x 71
    Row("stem_conv6", Convolution(256, 3, 2, "valid")),  # 256 x 35 x 35
)
A_V1 = Residual(  # figure 10
    (
        (Convolution(32),),
        (Convolution(32), Convolution(32, 3)),
        (Convolution(32), Convolution(32, 3), Convolution(32, 3)),
    ),
    scale=0.17,
)
B_V1 = Residual(  # figure 11
    ((Convolution(128),), (Convolution(128), Convolution(128, (1, 7)), Convolution(128, (7, 1)))), scale=0.10
)
REDUCTION_B_V1 = Concat(  # figure 12
    (
        (MAX,),
        (Convolution(256), Convolution(384, 3, 2, "valid")),
        (Convolution(256), Convolution(256, 3, 2, "valid")),
        (Convolution(256), Convolution(256, 3), Convolution(256, 3, 2, "valid")),
    )
)
C_V1 = Residual(  # figure 13
    ((Convolution(192),), (Convolution(192), Convolution(192, (1, 3)), Convolution(192, (3, 1)))), scale=0.20
)

A_V2 = Residual(  # figure 16
    (
        (Convolution(32),),
        (Convolution(32), Convolution(32, 3)),
        (Convolution(32), Convolution(48, 3), Convolution(64, 3)),
    ),
    scale=0.17,
)
B_V2 = Residual(  # figure 17
    ((Convolution(192),), (Convolution(128), Convolution(160, (1, 7)), Convolution(192, (7, 1)))), scale=0.10
)
REDUCTION_B_V2 = Concat(  # figure 18
    (
        (MAX,),
        (Convolution(256), Convolution(384, 3, 2, "valid")),
        (Convolution(256), Convolution(288, 3, 2, "valid")),
        (Convolution(256), Convolution(288, 3), Convolution(320, 3, 2, "valid")),
    )
)
C_V2 = Residual(  # figure 19
    ((Convolution(192),), (Convolution(192), Convolution(224, (1, 3)), Convolution(256, (3, 1)))), scale=0.20
)

VERSIONS = {  # figure 15: both
    "v1": (
        *STEM_V1,  # 256 x 35 x 35
        Row("inception_resnet_a", A_V1, 5),  # 256 x 35 x 35
        Row("reduction_a", reduction_a(192, 192, 256, 384)),  # 896 x 17 x 17
        Row("inception_resnet_b", B_V1, 10),  # 896 x 17 x 17
        Row("reduction_b", REDUCTION_B_V1),  # 1792 x 8 x 8
        Row("inception_resnet_c", C_V1, 5),  # 1792 x 8 x 8
    ),
    "v2": (
        *STEM,  # 384 x 35 x 35
        Row("inception_resnet_a", A_V2, 5),  # 384 x 35 x 35
        Row("reduction_a", reduction_a(256, 256, 384, 384)),  # 1152 x 17 x 17
        Row("inception_resnet_b", B_V2, 10),  # 1152 x 17 x 17
        Row("reduction_b", REDUCTION_B_V2),  # 2144 x 8 x 8
        Row("inception_resnet_c", C_V2, 5),  # 2144 x 8 x 8
    ),
}


def inception_resnet(
    row: str,
    *,
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.2,
    recompute: bool = False,
) -> Inception:
    """Build Inception-ResNet-v1 or v2 (`row`: "v1" or "v2"): 22,756,328 and 32,433,928 parameters for 1000 classes.

    Images of any size from 75 x 75 on, by default 299 x 299. `dropout` before the classifier (figure 15: keep 0.8);
    `recompute` trades time for memory (gradient checkpointing). Raises InputError for smaller images and unfit options.
    """
    if row not in VERSIONS:
        raise InputError(f"inception-resnet: the versions are 'v1' and 'v2', got {row!r}")
    return Inception(
        f"inception-resnet-{row}",
        VERSIONS[row],
        classes=classes,
        channels=channels,
        size=size,
        dropout=dropout,
        recompute=recompute,
    )
