"""VGG (Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014), table 1.

Departures: none in the networks. The deeper configurations start from Glorot's random weights, which section 3.1 found
to do without pre-training; the pre-training that the paper describes first is `start_from_a`.
"""

from collections import OrderedDict
from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor, nn

from striate.errors import InputError
from striate.models._chain import Chain, chosen_size, require_flag, require_fraction, require_images
from striate.nn import Conv, Dropout, Linear, LocalResponseNorm, MaxPool

SIZE = (224, 224)  # section 2.1
SMALLEST = (32, 32)  # five poolings of 2 x 2 leave one position
FC6, FC7 = 4096, 4096
Initialization = Literal["glorot", "normal"]


class Configuration(NamedTuple):
    """One column of table 1: the layers before each of the five poolings, in the paper's words; conv3-64 is 3 x 3 x 64.

    The three dense layers after them, FC-4096, FC-4096, FC-1000, are those of every column.
    """

    conv1: str
    conv2: str
    conv3: str
    conv4: str
    conv5: str


TABLE1 = {  # each stage at 224 x 224, 112 x 112, 56 x 56, 28 x 28, 14 x 14, before its pooling
    "A": Configuration(
        "conv3-64",
        "conv3-128",
        "conv3-256 conv3-256",
        "conv3-512 conv3-512",
        "conv3-512 conv3-512",
    ),
    "A-LRN": Configuration(
        "conv3-64 LRN",
        "conv3-128",
        "conv3-256 conv3-256",
        "conv3-512 conv3-512",
        "conv3-512 conv3-512",
    ),
    "B": Configuration(
        "conv3-64 conv3-64",
        "conv3-128 conv3-128",
        "conv3-256 conv3-256",
        "conv3-512 conv3-512",
        "conv3-512 conv3-512",
    ),
    "C": Configuration(
        "conv3-64 conv3-64",
        "conv3-128 conv3-128",
        "conv3-256 conv3-256 conv1-256",
        "conv3-512 conv3-512 conv1-512",
        "conv3-512 conv3-512 conv1-512",
    ),
    "D": Configuration(
        "conv3-64 conv3-64",
        "conv3-128 conv3-128",
        "conv3-256 conv3-256 conv3-256",
        "conv3-512 conv3-512 conv3-512",
        "conv3-512 conv3-512 conv3-512",
    ),
    "E": Configuration(
        "conv3-64 conv3-64",
        "conv3-128 conv3-128",
        "conv3-256 conv3-256 conv3-256 conv3-256",
        "conv3-512 conv3-512 conv3-512 conv3-512",
        "conv3-512 conv3-512 conv3-512 conv3-512",
    ),
}

# Section 3.1: the first four convolutions of A and its dense layers, by the names that they have in every column.
FROM_A = ("conv1.conv1_1", "conv2.conv2_1", "conv3.conv3_1", "conv3.conv3_2", "fc6", "fc7", "fc8")


class Layer(NamedTuple):
    """One word of table 1 with its input maps: a convolution of kernel x kernel, or ("LRN") kernel 0."""

    name: str
    kernel: int
    in_maps: int
    maps: int


def layers(row: str, channels: int = 3) -> dict[str, list[Layer]]:
    """Return the layers of each stage of a configuration, named conv1_1, conv1_2 ...; raises InputError."""
    if row not in TABLE1:
        raise InputError(f"vgg: table 1 has the configurations {', '.join(TABLE1)}, got {row!r}")
    stages: dict[str, list[Layer]] = {}
    maps = channels
    for stage, words in TABLE1[row]._asdict().items():
        stages[stage] = []
        for number, word in enumerate(words.split(), 1):
            if word == "LRN":
                stages[stage].append(Layer(stage.replace("conv", "norm"), 0, maps, maps))
                continue
            kernel, out = (int(part) for part in word.removeprefix("conv").split("-"))
            stages[stage].append(Layer(f"{stage}_{number}", kernel, maps, out))
            maps = out
    return stages


def convolutional_parts(row: str, channels: int = 3) -> dict[str, nn.Module]:
    """Return the stages and poolings of a configuration in their order: conv1, pool1 ... conv5, pool5."""
    parts: dict[str, nn.Module] = {}
    for number, (stage, rows) in enumerate(layers(row, channels).items(), 1):
        parts[stage] = nn.Sequential(OrderedDict((layer.name, _layer(layer)) for layer in rows))
        parts[f"pool{number}"] = MaxPool(2)  # section 2.1: 2 x 2 windows, stride 2
    return parts


def _layer(layer: Layer) -> nn.Module:
    if not layer.kernel:
        return LocalResponseNorm()  # section 2.1: Krizhevsky's constants, which are its defaults
    # Section 2.1: stride 1, padding that keeps the size (1 for 3 x 3, none for 1 x 1), ReLU after every hidden layer.
    conv = Conv(layer.in_maps, layer.maps, layer.kernel, padding="same")
    return nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU(inplace=True)))


class VGG(Chain):
    """A configuration of table 1: N x C x H x W of its `input_size` -> logits N x classes.

    The parts are the stages conv1 ... conv5 (their layers inside: conv1.conv1_1), the poolings and the dense layers.
    With `recompute` the stages, which hold nearly all of the memory, are run again in the backward pass.
    """

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's output after its ReLU: conv1_1, conv1_2, pool1 ... fc6, fc7, fc8, and "logits"."""
        require_images(self.name, x, self.input_size, self.smallest)
        seen: dict[str, Tensor] = {}
        for part in self.order:
            module = self.get_submodule(part)
            for name, layer in module.named_children() if part.startswith("conv") else [(part, module)]:
                x = seen[name] = layer(x)
        seen["logits"] = x
        return seen


def vgg(
    row: str,
    *,
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.5,
    init: Initialization = "glorot",
    recompute: bool = False,
) -> VGG:
    """Build configuration A, A-LRN, B, C, D or E of table 1 for images of `size` (default 224 x 224, at least 32 x 32).

    dropout: of the first two dense layers (section 3.1). init: "glorot", uniform as Glorot and Bengio (2010), or
    "normal", deviation 0.01, which section 3.1 uses for A and for what the deeper ones do not take from A
    (`start_from_a`); biases are zero. recompute: less memory, more time. Raises InputError.
    """
    name = f"vgg-{str(row).lower()}"
    parts = convolutional_parts(row, channels)
    height, width = chosen_size(name, size, SIZE, SMALLEST)
    dropout = require_fraction(name, "dropout", dropout)
    positions = (height // 32) * (width // 32)
    maps = layers(row, channels)["conv5"][-1].maps
    parts["fc6"] = _dense(maps * positions, FC6, dropout)
    parts["fc7"] = _dense(FC6, FC7, dropout)
    parts["fc8"] = Linear(FC7, classes)
    stages = [part for part in parts if part.startswith("conv")] if require_flag(name, "recompute", recompute) else ()
    model = VGG(name, parts, input_size=(channels, height, width), recompute=stages)
    _initialize(model, name, init)
    return model


def start_from_a(model: VGG, a: VGG) -> None:
    """Copy into a deeper configuration what section 3.1 takes from a trained A: four convolutions, all dense layers."""
    for name in FROM_A:
        for parameter, source in zip(
            model.get_submodule(name).parameters(), a.get_submodule(name).parameters(), strict=True
        ):
            if parameter.shape != source.shape:
                raise InputError(
                    f"vgg: {name} is {tuple(parameter.shape)} in {model.name} and {tuple(source.shape)} in {a.name}; "
                    "build both with the same classes, channels and size"
                )
        model.get_submodule(name).load_state_dict(a.get_submodule(name).state_dict())


def dense_as_conv(linear: nn.Linear, height: int = 1, width: int = 1) -> Conv:
    """Return the convolution that computes a dense layer over maps of height x width at every position of larger maps.

    The weight is the dense one, P x (D * height * width), seen as P x D x height x width (section 3.2).
    """
    conv = Conv(linear.in_features // (height * width), linear.out_features, (height, width), bias=True)
    conv.to(linear.weight.device, linear.weight.dtype)
    state = {"weight": linear.weight.detach().view_as(conv.weight), "bias": linear.bias.detach()}
    conv.load_state_dict(state)
    return conv


def convolutional_head(model: VGG) -> dict[str, nn.Module]:
    """Return the dense layers as convolutions with copies of their weights: fc6, fc7 (with ReLU and dropout) and fc8.

    fc6 is 7 x 7 at the paper's size. On the maps of pool5 they give a map of scores, N x classes x h x w.
    """
    _, height, width = model.input_size
    windows: dict[str, tuple[int, int]] = {"fc6": (height // 32, width // 32), "fc7": (1, 1)}
    head: dict[str, nn.Module] = {}
    for name, window in windows.items():
        linear: Any = model.get_submodule(f"{name}.linear")
        dropout: Any = model.get_submodule(f"{name}.dropout")
        parts = {
            "conv": dense_as_conv(linear, *window),
            "relu": nn.ReLU(inplace=True),
            "dropout": Dropout(dropout.p),
        }
        head[name] = nn.Sequential(OrderedDict(parts))
    classifier: Any = model.get_submodule("fc8")
    head["fc8"] = dense_as_conv(classifier)
    return head


def fully_convolutional(model: VGG) -> Chain:
    """Return the network of section 3.2, for dense evaluation: any size from the model's on -> logits N x classes.

    Its convolutional stages are the model's own (shared), its dense layers convolutions with copied weights; the map
    of scores, N x classes x h x w under the name fc8, is averaged.
    """
    stages = {name: model.get_submodule(name) for name in model.order if not name.startswith("fc")}
    average = nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()))
    _, height, width = model.input_size
    parts = {**stages, **convolutional_head(model), "average": average}
    chain = Chain(
        f"{model.name}, fully convolutional",
        parts,
        input_size=model.input_size,
        smallest=(height // 32 * 32, width // 32 * 32),
        recompute=model.recompute,
    )
    return chain.train(model.training)


def _dense(inputs: int, units: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            linear=Linear(inputs, units),
            relu=nn.ReLU(inplace=True),
            dropout=Dropout(dropout),
        )
    )


def _initialize(model: VGG, name: str, init: str) -> None:
    if init not in get_args(Initialization):
        raise InputError(f"{name}: init must be 'glorot' or 'normal', got {init!r}")
    for module in model.modules():
        if isinstance(module, Conv | nn.Linear):
            if init == "glorot":
                nn.init.xavier_uniform_(module.weight)
            else:
                # Section 3.1 prints a *variance* of 10^-2. A deviation of 0.1 multiplies activations nearly fivefold in
                # each 3 x 3 x 512 layer, so the deviation 10^-2 of Krizhevsky et al., whom it follows, must be meant.
                nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
