"""Recipes by name: data. A recipe that belongs to one network bears its name."""

import inspect
from collections.abc import Callable
from functools import partial

from striate.errors import InputError, did_you_mean
from striate.training._recipe import Recipe
from striate.training.recipes import (
    alexnet,
    highway,
    inception,
    lenet5,
    nin,
    resnet,
    scenes,
    signals,
    small_images,
    vgg,
)
from striate.training.recipes._smoke import SMOKE, smoke

RECIPES: dict[str, Callable[[], Recipe]] = {
    "lenet5": lenet5.lenet5,
    "lenet5-distortions": lenet5.lenet5_distortions,
    "lenet5-modern": lenet5.lenet5_modern,
    "digits": lenet5.digits,
    "digits-convnet": small_images.digits_convnet,
    "small-images": small_images.small_images,
    "small-color-images": small_images.small_color_images,
    "photos": small_images.photos,
    "alexnet": alexnet.alexnet,
    "alexnet-single": alexnet.alexnet_single,
    "nin-cifar10": nin.nin_cifar10,
    "nin-imagenet": nin.nin_imagenet,
    **{f"vgg-{row}": partial(vgg.vgg, f"vgg-{row}") for row in ("a", "a-lrn", "b")},
    **{f"vgg-{row}": partial(vgg.vgg_jittered, f"vgg-{row}") for row in "cde"},
    **{f"googlenet{row}": partial(inception.googlenet, f"googlenet{row}") for row in ("", "-torchvision")},
    "inception-v3": inception.inception_v3,
    **{
        f"inception-{row}": partial(inception.inception_v4, f"inception-{row}")
        for row in ("v4", "resnet-v1", "resnet-v2")
    },
    **{
        f"resnet-{row}": partial(resnet.resnet, f"resnet-{row}")
        for row in ("18", "34", "50", "101", "152", "50-v1.5", "101-v1.5", "152-v1.5")
    },
    **{f"resnet-cifar-{n}": partial(resnet.resnet_cifar, f"resnet-cifar-{n}") for n in (20, 32, 44, 56)},
    **{f"resnet-cifar-{n}": partial(resnet.resnet_cifar_warm, f"resnet-cifar-{n}") for n in (110, 1202)},
    **{
        f"preact-resnet-cifar-{n}": partial(resnet.preact_resnet_cifar, f"preact-resnet-cifar-{n}")
        for n in (110, 164, 1001)
    },
    "preact-resnet-200": partial(resnet.preact_resnet, "preact-resnet-200"),
    **{f"highway-cifar-{n}": partial(highway.highway_cifar_dense, f"highway-cifar-{n}") for n in (1, 2, 3, 4)},
    "highway-cifar-19": partial(highway.highway_cifar, "highway-cifar-19"),
    **{f"highway-mnist-{n}": partial(highway.highway_mnist, f"highway-mnist-{n}") for n in (16, 32)},
    "signals": signals.signals,
    "fcn-1d": partial(signals.wang, "fcn-1d", 2000),
    "resnet-1d": partial(signals.wang, "resnet-1d", 1000),
    "scenes": scenes.scenes,
    "fcn-32s": partial(scenes.fcn, "fcn-32s"),
    **{f"fcn-{row}": partial(scenes.fcn_finer, f"fcn-{row}") for row in ("16s", "8s")},
    "deeplab-v1": partial(scenes.deeplab_v1, "deeplab-v1"),
    "deeplab-v2-vgg16": partial(scenes.deeplab_v2, "deeplab-v2-vgg16"),
    "deeplab-v2-resnet101": partial(scenes.deeplab_v2_resnet, "deeplab-v2-resnet101"),
}


def named_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or its small twin by NAME_smoke; raises InputError for an unknown one."""
    own = name.removesuffix(SMOKE)
    if own not in RECIPES:
        raise InputError(f"unknown recipe {name!r}{did_you_mean(own, RECIPES)}")
    recipe = RECIPES[own]()
    return smoke(recipe) if name.endswith(SMOKE) else recipe


def departures(name: str) -> list[str]:
    """Return what a recipe does otherwise than its paper: the list in its function's documentation."""
    function = RECIPES[name]
    text = inspect.getdoc(function.func if isinstance(function, partial) else function) or ""
    _, _, items = text.partition("\nDepartures:\n")
    return [" ".join(item.split()).rstrip(".") for item in f"\n{items}".split("\n- ")[1:]]
