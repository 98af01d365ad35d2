"""Dilated convolutions (Yu, Koltun, ICLR 2016): the front end and the context modules of table 1.

The front end is VGG-16 without pool4 and pool5; what followed them is dilated by 2 and 4, so scores have stride 8. No
layer pads: the picture is mirrored at its borders instead, by the 186 pixels that the layers use up (section 4). The
context module turns C score maps into C score maps that look at 67 x 67 of them; it starts as the identity (section
3). Names are those of the released networks. Scores are enlarged 8 times by fixed bilinear interpolation.

Departures: none in the networks. The paper trains the front end first, then the context module on its output;
`Dilated.frontend_parts` and `context_parts` name what to freeze. `width` other than 1 (of the front end) is ours.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from striate.models._chain import Chain, chosen_size, require_flag, require_fraction, require_images
from striate.models._segmentation import BilinearUpsample, convolution, draw_he, draw_normal, require_width, scaled
from striate.nn import Conv, MaxPool


class Block(NamedTuple):
    """So many 3 x 3 convolutions of so many maps with a dilation, then pooling 2 x 2, or none."""

    convolutions: int
    maps: int
    dilation: int
    pool: bool


class Layer(NamedTuple):
    """A column of table 1; the maps are multiples of the classes C, the field that of the layers so far."""

    name: str
    kernel: int
    dilation: int
    truncation: bool
    field: int
    basic: int
    large: int


BLOCKS = (
    Block(2, 64, 1, True),
    Block(2, 128, 1, True),
    Block(3, 256, 1, True),
    Block(3, 512, 1, False),
    Block(3, 512, 2, False),
)
FC_MAPS, FC_DILATION = 4096, 4
CONTEXT = (
    Layer("ct_conv1_1", 3, 1, True, 3, 1, 2),
    Layer("ct_conv1_2", 3, 1, True, 5, 1, 2),
    Layer("ct_conv2_1", 3, 2, True, 9, 1, 4),
    Layer("ct_conv3_1", 3, 4, True, 17, 1, 8),
    Layer("ct_conv4_1", 3, 8, True, 33, 1, 16),
    Layer("ct_conv5_1", 3, 16, True, 65, 1, 32),
    Layer("ct_fc1", 3, 1, True, 67, 1, 32),
    Layer("ct_final", 1, 1, False, 67, 1, 1),
)
STRIDE = 8
MARGIN = 186  # pixels on each side that the front end uses up
BUFFER = 33  # zeros around the scores that the context module uses up: (67 - 1) / 2, section 4
NOISE = 0.01  # deviation of eq. 5's noise, as a part of C / c; the paper says only that it is much less than 1
SIZE = (500, 500)

RowName = Literal["frontend", "basic", "large"]


class Dilated(Chain):
    """The front end, with or without a context module: N x C x H x W -> logits N x classes x H x W, of any size."""

    def __init__(
        self,
        name: str,
        frontend: Mapping[str, nn.Module],
        context: Mapping[str, nn.Module],
        *,
        input_size: tuple[int, int, int],
        recompute: bool,
    ) -> None:
        parts = {**frontend, **context, "upsample": BilinearUpsample(STRIDE, padding=STRIDE // 2)}
        again = tuple(parts) if recompute else ()
        super().__init__(name, parts, input_size=input_size, smallest=(1, 1), recompute=again)
        self.frontend_parts, self.context_parts = tuple(frontend), tuple(context)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of every layer by the released network's name, the last one as "logits"."""
        seen = super().features(self._mirrored(x))
        seen["logits"] = seen["logits"][:, :, : x.shape[2], : x.shape[3]]
        return seen

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, N x classes x H x W."""
        return super().forward(self._mirrored(x))[:, :, : x.shape[2], : x.shape[3]]

    def _mirrored(self, x: Tensor) -> Tensor:
        """Mirror the picture at its borders, so far that the scores cover it."""
        require_images(self.name, x, self.input_size, self.smallest)
        for axis in (2, 3):
            x = x.index_select(axis, mirrored(x.shape[axis], MARGIN, MARGIN + -x.shape[axis] % STRIDE, x.device))
        return x


def mirrored(n: int, low: int, high: int, device: torch.device | None = None) -> Tensor:
    """Return which of n pixels stands at each place from -low to n + high - 1: mirrored, again and again.

    The border pixels themselves are not repeated: ... 2 1 0 1 2 ... (section 4; the released code does the same).
    """
    period = max(2 * (n - 1), 1)
    place = torch.arange(-low, n + high, device=device) % period
    return torch.minimum(place, (period - place) % period) if n > 1 else place


def dilated(
    row: RowName = "frontend",
    *,
    classes: int = 21,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.5,
    width: float = 1.0,
    recompute: bool = False,
) -> Dilated:
    """Build the front end, alone or with the basic or the large context module.

    dropout: after fc6 and fc7. width: factor on the front end's maps. recompute: trade time for memory. The score
    layer starts at N(0, 0.001), the context module as the identity. Raises InputError.
    """
    name = f"dilated-{row}" if row == "frontend" else f"dilated-context-{row}"
    width, dropout = require_width(name, width), require_fraction(name, "dropout", dropout)
    recompute = require_flag(name, "recompute", recompute)
    input_size = (channels, *chosen_size(name, size, SIZE, (1, 1)))
    parts: dict[str, nn.Module] = {}
    maps = channels
    for block, (convolutions, block_maps, dilation, pool) in enumerate(BLOCKS, 1):
        for number in range(1, convolutions + 1):
            out = scaled(block_maps, width)
            parts[f"conv{block}_{number}"] = convolution(maps, out, dilation=dilation)
            maps = out
        if pool:
            parts[f"pool{block}"] = MaxPool(2)
    hidden = scaled(FC_MAPS, width)
    parts["fc6"] = convolution(maps, hidden, 7, dilation=FC_DILATION, dropout=dropout)
    parts["fc7"] = convolution(hidden, hidden, 1, dropout=dropout)
    for part in parts.values():
        draw_he(part)
    parts["final"] = final = Conv(hidden, classes, 1)
    draw_normal(final, 0.001)  # released training network
    return Dilated(
        name,
        parts,
        {} if row == "frontend" else context_module(row, classes),
        input_size=input_size,
        recompute=recompute,
    )


def context_module(row: Literal["basic", "large"], classes: int, *, noise: float = NOISE) -> dict[str, nn.Module]:
    """Return the layers of a context module by their names: N x C x h x w -> the same, started as the identity.

    Scores of 0 and more pass unchanged, up to the noise of the large module; the truncation max(., 0) of the first
    layer cuts off those below 0. noise: deviation of the weights that the identity leaves free (eq. 5), as a part of
    C / c, c being the layer's maps; the basic module has none (eq. 4).
    """
    layers: dict[str, nn.Module] = {}
    maps = classes
    for layer in CONTEXT:
        out = classes * getattr(layer, row)
        padding = BUFFER if not layers else 0
        if layer.truncation:
            part: nn.Module = convolution(maps, out, layer.kernel, padding=padding, dilation=layer.dilation)
        else:
            part = Conv(maps, out, layer.kernel)
        inner = part if isinstance(part, Conv) else part.get_submodule("conv")
        make_identity(inner, classes, noise=noise if row == "large" else 0.0)  # type: ignore[arg-type]
        layers[layer.name] = part
        maps = out
    return layers


@torch.no_grad()
def make_identity(layer: Conv, classes: int, *, noise: float) -> None:
    """Start a layer as the identity: equation 5, which is equation 4 where the layer has C maps before and after.

    Input map a and output map b belong together if floor(a C / c) is the same class for both; between them the middle
    weight is C / c, of the output's maps c, so that the maps of a class add up to it in the end. Biases are 0.
    """
    device = layer.weight.device
    source = torch.arange(layer.in_channels, device=device) * classes // layer.in_channels
    target = torch.arange(layer.out_channels, device=device) * classes // layer.out_channels
    together = target[:, None] == source
    share = classes / layer.out_channels
    middle = tuple(k // 2 for k in layer.kernel)
    nn.init.normal_(layer.weight, std=noise * share) if noise else nn.init.zeros_(layer.weight)
    centre = layer.weight[:, :, middle[0], middle[1]]
    centre.copy_(torch.where(together, torch.full_like(centre, share), centre))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
