"""The networks by name; nothing is imported until it is built."""

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from striate.errors import InputError, did_you_mean
from striate.models._card import Card, Published
from striate.models.cards import MODELS, PUBLISHED

if TYPE_CHECKING:
    from torch import nn


_WORDS = {
    1: "series (length)",
    2: "pictures (height, width)",
}


def names() -> list[str]:
    """Return the names that `build` knows, sorted."""
    return sorted(MODELS)


def card(name: str) -> Card:
    """Return the card of a network; raises InputError for an unknown name."""
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}{did_you_mean(name, MODELS)}")
    return MODELS[name]


def published(name: str) -> list[Published]:
    """Return the figures that the paper of a network states; raises InputError for an unknown name."""
    return [figure for figure in PUBLISHED if figure.model == card(name).name]


def build(
    name: str, *, classes: int = 10, channels: int = 1, size: tuple[int, ...] | None = None, **options: Any
) -> "nn.Module":
    """Build a network by name, freshly initialised from PyTorch's global generator.

    `classes` outputs, `channels` input maps, `size` of the input, (height, width) of pictures or (length,) of series,
    None for the network's own. Further options are the builder's; raises InputError for an unknown name or option. The
    module has `input_size` (C, H, W), for series (C, T), and takes N of these; a classifier returns logits N x classes,
    a network for segmentation N x classes x H x W.
    """
    module, function = card(name).builder.split(":")
    if card(name).task == "unsupervised":
        raise InputError(f"model {name!r} learns without labels and is no classifier to build: use {module}.{function}")
    builder = getattr(import_module(module), function)
    known = set(inspect.signature(builder).parameters) - {"row", "classes", "channels", "size"}
    for option in options:
        if option not in known:
            remedy = did_you_mean(option, known) if known else "; it takes none"
            raise InputError(f"model {name!r} has no option {option!r}{remedy}")
    if classes < 2:
        raise InputError(f"model {name!r}: a classifier needs at least 2 classes, got {classes}")
    if size is not None and len(size) != len(card(name).size):
        given = _WORDS.get(len(size), f"of {len(size)} axes")
        raise InputError(
            f"model {name!r} takes {_WORDS[len(card(name).size)]} and was given {given}: choose another network, or "
            "other data"
        )
    row = () if card(name).row is None else (card(name).row,)
    return cast("nn.Module", builder(*row, classes=classes, channels=channels, size=size, **options))


def build_as_published(name: str, **options: Any) -> "nn.Module":
    """Build a network with the classes, channels and input size of its paper, whose figures `published` lists."""
    known = card(name)
    return build(name, classes=known.classes, channels=known.channels, size=known.size, **options)
