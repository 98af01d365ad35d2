"""DeconvNet (Noh, Hong, Han, ICCV 2015), table 2: VGG-16 and its mirror image, joined by the switches of its pooling.

The convolution network is VGG-16 with batch normalisation, its dense layers as 7 x 7 and 1 x 1 convolutions; the
deconvolution network unpools by the switches and convolves transposed, down to a score per class and pixel.

They are trained in two stages (section 4.2): on pictures cut out around one object, then on cut-outs of object
proposals. Departures: none in the network. The joining of 50 edge-box proposals per picture, the ensemble with
FCN-8s and the CRF after it (sections 4.3, 4.4) are not part of it. `width` other than 1 is ours.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models._chain import Chain, chosen_size, require_flag, require_images
from striate.models._segmentation import convolution, draw_he, draw_normal, require_width, scaled
from striate.nn import Conv, ConvTranspose, MaxPool, MaxUnpool


class Layer(NamedTuple):
    """A row of table 2; pooling and unpooling keep the maps, padding is what the sizes of the table need."""

    name: str
    kind: str
    kernel: int
    maps: int = 0
    padding: int = 0


def _stack(prefix: str, *maps: int) -> tuple[Layer, ...]:
    """Return 3 x 3 layers with consecutive names."""
    kind = "deconvolution" if prefix.startswith("de") else "convolution"
    return tuple(Layer(f"{prefix}_{number}", kind, 3, count, 1) for number, count in enumerate(maps, 1))


FC6_KERNEL = 7
TABLE = (
    *_stack("conv1", 64, 64),  # 224 x 224
    Layer("pool1", "pooling", 2),  # 112
    *_stack("conv2", 128, 128),
    Layer("pool2", "pooling", 2),  # 56
    *_stack("conv3", 256, 256, 256),
    Layer("pool3", "pooling", 2),  # 28
    *_stack("conv4", 512, 512, 512),
    Layer("pool4", "pooling", 2),  # 14
    *_stack("conv5", 512, 512, 512),
    Layer("pool5", "pooling", 2),  # 7
    Layer("fc6", "convolution", FC6_KERNEL, 4096),  # 1
    Layer("fc7", "convolution", 1, 4096),
    Layer("deconv_fc6", "deconvolution", 7, 512),  # 7
    Layer("unpool5", "unpooling", 2),  # 14
    *_stack("deconv5", 512, 512, 512),
    Layer("unpool4", "unpooling", 2),  # 28
    *_stack("deconv4", 512, 512, 256),
    Layer("unpool3", "unpooling", 2),  # 56
    *_stack("deconv3", 256, 256, 128),
    Layer("unpool2", "unpooling", 2),  # 112
    *_stack("deconv2", 128, 64),
    Layer("unpool1", "unpooling", 2),  # 224
    *_stack("deconv1", 64, 64),
    Layer("output", "output", 1),
)
SIZE = (224, 224)
SMALLEST = (32, 32)  # five poolings leave a pixel


class DeconvNet(Chain):
    """DeconvNet: N x C x H x W -> logits N x classes x H x W, H and W of 32 or more.

    Where a picture below 224 leaves pool5 less than the 7 x 7 maps that fc6 reads, zeros surround them, and what
    deconv_fc6 computes for those is cut off again.
    """

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's output by the table's name (with _ for -), the last one as "logits"."""
        return dict(self._outputs(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, N x classes x H x W."""
        for _, output in self._outputs(x):
            last = output
        return last

    def _outputs(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        require_images(self.name, x, self.input_size, self.smallest)
        switches: list[tuple[Tensor, tuple[int, int]]] = []  # of each pooling, and the size that it pooled
        for name in self.order:
            size = (x.shape[2], x.shape[3])
            if name.startswith("pool"):
                x, places = self.get_submodule(name)(x)
                switches.append((places, size))
            elif name.startswith("unpool"):
                places, size = switches.pop()
                x = self.get_submodule(name)(x, places, output_size=size)
            elif name == "fc6":
                x = self.run_part(name, _surrounded(x))
            elif name == "deconv_fc6":
                x = _cut(self.run_part(name, x), switches[-1][0])
            else:
                x = self.run_part(name, x)
            yield name, x
        yield "logits", x


def deconvnet(
    *,
    classes: int = 21,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    width: float = 1.0,
    recompute: bool = False,
) -> DeconvNet:
    """Build DeconvNet, freshly initialised.

    The deconvolution network starts at N(0, 0.01) (section 4.3; the deviation is that of the released network). width:
    factor on all hidden maps. recompute: trade time for memory. Raises InputError.
    """
    width, recompute = require_width("deconvnet", width), require_flag("deconvnet", "recompute", recompute)
    input_size = (channels, *chosen_size("deconvnet", size, SIZE, SMALLEST))
    parts: dict[str, nn.Module] = {}
    maps = channels
    for layer in TABLE:
        out = scaled(layer.maps, width) if layer.maps else classes
        if layer.kind == "convolution":
            parts[layer.name] = convolution(maps, out, layer.kernel, padding=layer.padding, norm=True)
            draw_he(parts[layer.name])
            maps = out
        elif layer.kind == "deconvolution":
            parts[layer.name] = _deconvolution(maps, out, layer.kernel, layer.padding)
            maps = out
        elif layer.kind == "pooling":
            parts[layer.name] = MaxPool(layer.kernel, return_switches=True)
        elif layer.kind == "unpooling":
            parts[layer.name] = MaxUnpool(layer.kernel)
        else:
            parts[layer.name] = score = Conv(maps, out, layer.kernel)
            draw_normal(score, 0.01)
    return DeconvNet(
        "deconvnet",
        parts,
        input_size=input_size,
        smallest=SMALLEST,
        recompute=tuple(parts) if recompute else (),
    )


def _deconvolution(inputs: int, maps: int, kernel: int, padding: int) -> nn.Sequential:
    """Return a transposed convolution, batch normalisation and ReLU."""
    part = nn.Sequential()
    conv = ConvTranspose(inputs, maps, kernel, padding=padding)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    part.add_module("conv", conv)
    part.add_module("norm", nn.BatchNorm2d(maps))
    part.add_module("relu", nn.ReLU(inplace=True))
    return part


def _margins(n: int) -> tuple[int, int]:
    """Return how many zeros go before and after n maps' rows so that fc6 has 7 to read."""
    missing = max(FC6_KERNEL - n, 0)
    return missing // 2, missing - missing // 2


def _surrounded(x: Tensor) -> Tensor:
    rows, columns = _margins(x.shape[2]), _margins(x.shape[3])
    return F.pad(x, (*columns, *rows)) if any(rows + columns) else x


def _cut(x: Tensor, like: Tensor) -> Tensor:
    (top, _), (left, _) = _margins(like.shape[2]), _margins(like.shape[3])
    return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]
