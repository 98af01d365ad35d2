"""What the papers say, one file per family: the networks' cards and the figures printed in their tables; no torch."""

from striate.models._card import Card, Published
from striate.models.cards import (
    adaptive_deconv,
    alexnet,
    context,
    convnet,
    deconvnet,
    deeplab,
    deformable,
    fcn,
    fcn_1d,
    googlenet,
    highway,
    inception_resnet,
    inception_v3,
    inception_v4,
    lenet5,
    neocognitron,
    nin,
    preact_resnet,
    resnet,
    resnet_cifar,
    vgg,
)

_FAMILIES = (
    alexnet,
    nin,
    googlenet,
    lenet5,
    vgg,
    convnet,
    fcn,
    inception_v3,
    inception_v4,
    inception_resnet,
    resnet,
    resnet_cifar,
    preact_resnet,
    highway,
    neocognitron,
    adaptive_deconv,
    deeplab,
    context,
    deconvnet,
    deformable,
    fcn_1d,
)

MODELS: dict[str, Card] = {card.name: card for family in _FAMILIES for card in family.CARDS}
PUBLISHED: tuple[Published, ...] = tuple(figure for family in _FAMILIES for figure in family.PUBLISHED)

__all__ = ["MODELS", "PUBLISHED"]
