"""The networks by name, as data; nothing is imported until it is built."""

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from striate.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import nn


class Card(NamedTuple):
    """What a network is and where it comes from."""

    name: str
    builder: str  # "module:function"
    title: str
    paper: str
    departures: tuple[str, ...]  # from the paper; empty: none


LECUN_1998 = (
    "LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86(11), 1998"
)

MODELS: dict[str, Card] = {
    row.name: row
    for row in (
        Card("lenet5", "striate.models.lenet5:lenet5", "LeNet-5 as published in 1998", LECUN_1998, ()),
        Card(
            "lenet5-modern",
            "striate.models.lenet5:lenet5_modern",
            "LeNet-5 as it is usually written today",
            LECUN_1998,
            (
                "ReLU instead of the scaled hyperbolic tangent",
                "max pooling instead of trainable subsampling",
                "C3 sees all six maps of S2: 96 kernels instead of the table's 60",
                "a dense layer and softmax instead of the Euclidean RBF units",
                "He initialisation instead of uniform in +-2.4 / fan-in",
            ),
        ),
        Card(
            "convnet",
            "striate.models.convnet:convnet",
            "The typical convolutional network: blocks of convolutions and pooling, then dense layers",
            "the textbook's figure 5.9",
            ("batch normalisation after each convolution, unless norm='none'",),
        ),
    )
}


def names() -> list[str]:
    """Return the names that `build` knows, sorted."""
    return sorted(MODELS)


def card(name: str) -> Card:
    """Return the card of a network; raises InputError for an unknown name."""
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}{did_you_mean(name, MODELS)}")
    return MODELS[name]


def build(
    name: str, *, classes: int = 10, channels: int = 1, size: tuple[int, int] | None = None, **options: Any
) -> "nn.Module":
    """Build a network by name, freshly initialised from PyTorch's global generator.

    `classes` outputs, `channels` input maps, `size` (height, width) of the input, None for the network's own. Further
    options are the builder's; raises InputError for an unknown name or option. The module has `input_size` (C, H, W),
    takes N x C x H x W and returns logits N x classes.
    """
    module, function = card(name).builder.split(":")
    builder = getattr(import_module(module), function)
    known = set(inspect.signature(builder).parameters) - {"classes", "channels", "size"}
    for option in options:
        if option not in known:
            remedy = did_you_mean(option, known) if known else "; it takes none"
            raise InputError(f"model {name!r} has no option {option!r}{remedy}")
    if classes < 2:
        raise InputError(f"model {name!r}: a classifier needs at least 2 classes, got {classes}")
    return cast("nn.Module", builder(classes=classes, channels=channels, size=size, **options))
