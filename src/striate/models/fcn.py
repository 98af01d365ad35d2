"""Fully convolutional networks: FCN-32s, FCN-16s, FCN-8s (Shelhamer, Long, Darrell, CVPR 2015 and PAMI 2017).

VGG-16 whose dense layers are convolutions, a score per class and pixel, enlarged; the finer rows add scores of pool4
and pool3 (figure 3 of the CVPR paper). Where the paper is silent the released Caffe networks (voc-fcn32s, 16s, 8s) say
it: 100 zeros around the picture, Caffe's pooling that lets the last window hang over, and the crops of the table.

They are trained in stages: `from_vgg` makes FCN-32s of a trained VGG-16, `next_stage` FCN-16s of a trained FCN-32s and
FCN-8s of that (section 4.2). Departures: none in the network; `width` other than 1 is ours.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models._chain import Chain, chosen_size, require_flag, require_fraction, require_images
from striate.models._segmentation import (
    BilinearUpsample,
    bilinear_kernel,
    convolution,
    draw_he,
    require_width,
    scaled,
)
from striate.nn import Conv, ConvTranspose, MaxPool


class Block(NamedTuple):
    """So many 3 x 3 convolutions of so many maps, then max pooling 2 x 2."""

    convolutions: int
    maps: int


class Skip(NamedTuple):
    """Scores of a pooling layer, added to the coarser ones, which `upscore` doubles first."""

    pool: str
    upscore: str
    crop: int  # where the coarser scores begin in the finer ones
    scale: float  # of the pooling layer in the release trained at once, voc-fcn8s-atonce


class Row(NamedTuple):
    """A network of figure 3: the stride of its finest scores, where the picture begins in them, its skips."""

    stride: int
    crop: int
    skips: tuple[Skip, ...]


BLOCKS = (Block(2, 64), Block(2, 128), Block(3, 256), Block(3, 512), Block(3, 512))  # VGG-16
FC_MAPS = 4096
POOL4 = Skip("pool4", "upscore2", 5, 0.01)
POOL3 = Skip("pool3", "upscore_pool4", 9, 0.0001)
ROWS = {"32s": Row(32, 19, ()), "16s": Row(16, 27, (POOL4,)), "8s": Row(8, 31, (POOL4, POOL3))}
FINER = {"32s": "16s", "16s": "8s"}
MARGIN = 100  # zeros around the picture: then a picture of any size leaves a score
SIZE = (500, 500)  # of the PASCAL pictures, at most

RowName = Literal["32s", "16s", "8s"]


class FCN(Chain):
    """A fully convolutional network: N x C x H x W -> logits N x classes x H x W, H and W of 1 or more.

    `options` are those that it was built with: `next_stage` builds the finer one with the same.
    """

    def __init__(
        self, row: RowName, parts: Mapping[str, nn.Module], *, classes: int, options: Mapping[str, Any]
    ) -> None:
        height, width = options["size"] or SIZE
        super().__init__(
            f"fcn-{row}",
            parts,
            input_size=(options["channels"], height, width),
            smallest=(1, 1),
            recompute=tuple(parts) if options["recompute"] else (),
        )
        self.row, self.options, self.at_once = row, {"classes": classes, **options}, bool(options["at_once"])
        maps = {f"pool{number}": scaled(block.maps, options["width"]) for number, block in enumerate(BLOCKS, 1)}
        for skip in ROWS[row].skips:
            self.add_module(skip.upscore, ConvTranspose(classes, classes, 4, stride=2, bias=False))
            self.add_module(f"score_{skip.pool}", Conv(maps[skip.pool], classes, 1))
        self.add_module(f"upscore{ROWS[row].stride}", BilinearUpsample(ROWS[row].stride))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of every layer by the released network's name, the last one as "logits"."""
        return dict(self._outputs(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, N x classes x H x W."""
        for _, output in self._outputs(x):
            last = output
        return last

    def _outputs(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        require_images(self.name, x, self.input_size, self.smallest)
        height, width = x.shape[2:]
        stride, crop, skips = ROWS[self.row]
        pools: dict[str, Tensor] = {}
        for part in self.order:
            x = self.run_part(part, x)
            yield part, x
            if part in {skip.pool for skip in skips}:
                pools[part] = x
        for skip in skips:
            x = self.get_submodule(skip.upscore)(x)
            yield skip.upscore, x
            pool = pools[skip.pool] * skip.scale if self.at_once else pools[skip.pool]
            score = self.get_submodule(f"score_{skip.pool}")(pool)
            yield f"score_{skip.pool}", score
            x = x + _cropped(score, skip.crop, x.shape[2], x.shape[3])
            yield f"fuse_{skip.pool}", x
        x = self.get_submodule(f"upscore{stride}")(x)
        yield f"upscore{stride}", x
        yield "logits", _cropped(x, crop, height, width)


def fcn(
    row: RowName = "32s",
    *,
    classes: int = 21,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.5,
    at_once: bool = False,
    width: float = 1.0,
    recompute: bool = False,
) -> FCN:
    """Build FCN-32s, FCN-16s or FCN-8s, freshly initialised.

    Score layers start at 0 (section 4.3), the doubling transposed convolutions as bilinear interpolation and are
    trained, the last enlargement is fixed bilinear (section 3.3, 4.2). dropout: after fc6 and fc7. at_once: multiply
    pool4 by 0.01 and pool3 by 0.0001, as the release that trains all scores at once. width: factor on all hidden maps,
    for small machines. recompute: trade time for memory. Raises InputError.
    """
    name = f"fcn-{row}"
    width, dropout = require_width(name, width), require_fraction(name, "dropout", dropout)
    options = {
        "channels": channels,
        "size": chosen_size(name, size, SIZE, (1, 1)),
        "dropout": dropout,
        "at_once": require_flag(name, "at_once", at_once),
        "width": width,
        "recompute": require_flag(name, "recompute", recompute),
    }
    parts: dict[str, nn.Module] = {}
    maps = channels
    for block, (convolutions, block_maps) in enumerate(BLOCKS, 1):
        for number in range(1, convolutions + 1):
            first = (block, number) == (1, 1)
            out = scaled(block_maps, width)
            parts[f"conv{block}_{number}"] = convolution(maps, out, padding=MARGIN if first else 1)
            maps = out
        parts[f"pool{block}"] = MaxPool(2, ceil=True)
    hidden = scaled(FC_MAPS, width)
    parts["fc6"] = convolution(maps, hidden, 7, dropout=dropout)
    parts["fc7"] = convolution(hidden, hidden, 1, dropout=dropout)
    parts["score_fr"] = Conv(hidden, classes, 1)
    model = FCN(row, parts, classes=classes, options=options)
    draw_he(model)
    for layer_name, layer in model.named_children():
        if layer_name.startswith("score"):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        elif isinstance(layer, ConvTranspose):
            _make_bilinear(layer)
    return model


def from_vgg(vgg: nn.Module, *, classes: int = 21, row: RowName = "32s", **options: Any) -> FCN:
    """Return an FCN with the convolutions and the first two dense layers of a trained VGG-16 (section 4.1).

    vgg: any module with the 13 convolutions of VGG-16 and its 3 dense layers, in this order. Its classifier is
    dropped: scores start at 0. options: those of `fcn`. Raises InputError for another network.
    """
    layers = [m for m in vgg.modules() if isinstance(m, Conv | nn.Conv2d)]
    dense = [m for m in vgg.modules() if isinstance(m, nn.Linear)]
    if len(layers) != sum(block.convolutions for block in BLOCKS) or len(dense) != 3:
        raise InputError(
            f"from_vgg: a VGG-16 has 13 convolutions and 3 dense layers, got {len(layers)} and {len(dense)}; "
            "use the model 'vgg-d'"
        )
    first = layers[0].weight
    width = options.pop("width", len(first) / BLOCKS[0].maps)
    model = fcn(row, classes=classes, channels=first.shape[1], width=width, **options)
    targets = [m for m in model.modules() if isinstance(m, Conv)]
    for target, source in zip(targets, [*layers, *dense[:2]], strict=False):
        if target.weight.numel() != source.weight.numel() or source.bias is None:
            raise InputError(
                f"from_vgg: a layer of {tuple(target.weight.shape)} cannot take the weights"
                f" {tuple(source.weight.shape)}; the network must be a VGG-16 for 224 x 224, with biases"
            )
        with torch.no_grad():
            # a dense layer reads the maps of pool5 flattened, channel by channel: the order of a kernel's weights
            target.weight.copy_(source.weight.view_as(target.weight))
            if target.bias is not None:
                target.bias.copy_(source.bias)
    return model.to(first.device, first.dtype)


def next_stage(model: FCN) -> FCN:
    """Return the next finer network with the weights of a trained one: 16s of 32s, 8s of 16s (section 4.2).

    The new score layer starts at 0 and the new doubling as bilinear interpolation, so predictions begin where the
    coarser network ended. Raises InputError for FCN-8s, the finest.
    """
    if model.row not in FINER:
        raise InputError(f"next_stage: {model.name} is the finest network; give FCN-32s or FCN-16s")
    finer = fcn(FINER[model.row], **model.options)  # type: ignore[arg-type]
    finer.load_state_dict(model.state_dict(), strict=False)
    weight = model.get_submodule("score_fr").weight
    return finer.to(weight.device, weight.dtype).train(model.training)  # type: ignore[arg-type]


@torch.no_grad()
def _make_bilinear(layer: ConvTranspose) -> None:
    """Make each output map the enlarged input map of the same class."""
    layer.weight.zero_()
    diagonal = torch.arange(layer.in_channels, device=layer.weight.device)
    layer.weight[diagonal, diagonal] = bilinear_kernel(layer.kernel[0] // 2).to(layer.weight)


def _cropped(x: Tensor, start: int, height: int, width: int) -> Tensor:
    return x[:, :, start : start + height, start : start + width]
