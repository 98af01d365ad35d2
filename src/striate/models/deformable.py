"""Deformable DeepLab (Dai, Qi, Xiong, Li, Zhang, Hu, Wei, ICCV 2017): ResNet-101 with deformable 3 x 3 layers.

DeepLab's ResNet-101 at stride 16: conv5 has stride 1 and dilation 2, a 1 x 1 layer brings its maps down to 1024, a
1 x 1 layer scores them (section 3.3). The last 3 x 3 layers, by default the three of conv5, are deformable convolutions
of the first kind: every place of the kernel is moved by an offset that a convolution with the same kernel and dilation
predicts. Offsets start at 0, so a fresh network computes what the plain one does; they are learned at the same rate
as the rest (section 2.3, beta = 1).

Departures: none in the network. How the scores are enlarged the paper does not say: ours are interpolated from the
pixels that they are centred on. `width` other than 1 is ours.
"""

from typing import Any

from torch import nn

from striate.errors import InputError
from striate.models._chain import chosen_size, require_flag
from striate.models._segmentation import draw_he, draw_normal, require_width, scaled
from striate.models.deeplab import Bottleneck, DeepLab, Stage, resnet_parts
from striate.nn import Conv, DeformConv

STAGES = (  # ResNet-101; conv5's stride turned into dilation
    Stage("res2", 3, 64, 1, 1),
    Stage("res3", 4, 128, 2, 1),
    Stage("res4", 23, 256, 2, 1),
    Stage("res5", 3, 512, 1, 2),
)
FC_MAPS = 1024
STRIDE = 16
DEFORMABLE = 3  # table 1 tries 1, 2, 3 and 6; 3 is the paper's choice
SIZE = (360, 360)  # shorter side of the PASCAL pictures, section 4.1


def deformable_deeplab(
    *,
    classes: int = 21,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    deformable: int = DEFORMABLE,
    width: float = 1.0,
    recompute: bool = False,
) -> DeepLab:
    """Build a DeepLab on ResNet-101 whose last 3 x 3 layers are deformable, freshly initialised.

    deformable: how many, 0 to 33; 0 is the plain network. width: factor on all hidden maps. recompute: trade time for
    memory. fc6 and the scores start at N(0, 0.01). Raises InputError.
    """
    name = "deformable-deeplab-resnet101"
    blocks = sum(stage.blocks for stage in STAGES)
    deformable = _require_count(name, deformable, blocks)
    width, recompute = require_width(name, width), require_flag(name, "recompute", recompute)
    input_size = (channels, *chosen_size(name, size, SIZE, (1, 1)))
    parts, maps = resnet_parts(STAGES, channels, width)
    residual = [part for part in parts.values() if isinstance(part, Bottleneck)]
    for block in residual[blocks - deformable :]:
        block.branch2b = _deformed(block.branch2b)
    hidden = scaled(FC_MAPS, width)
    fc6, score = Conv(maps, hidden, 1), Conv(hidden, classes, 1)
    parts["fc6"] = nn.Sequential()
    parts["fc6"].add_module("conv", fc6)
    parts["fc6"].add_module("relu", nn.ReLU(inplace=True))
    parts["score"] = score
    model = DeepLab(name, parts, input_size=input_size, stride=STRIDE, recompute=recompute)
    draw_he(model)
    for module in model.modules():
        if isinstance(module, DeformConv):
            module.reset_parameters()  # offsets of 0
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    draw_normal(fc6, 0.01)  # released training networks
    draw_normal(score, 0.01)
    return model


def _deformed(layer: nn.Module) -> DeformConv:
    """Return a deformable convolution with the settings of a 3 x 3 convolution."""
    of: Any = layer
    return DeformConv(
        of.in_channels,
        of.out_channels,
        of.kernel,
        padding=of.padding,
        dilation=of.dilation,
        modulated=False,
        bias=False,
    )


def _require_count(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise InputError(f"{name}: deformable must be an integer from 0 to {most}, got {value!r}")
    return value
