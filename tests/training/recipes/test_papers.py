"""What recipes state, against what the papers print, typed here once more."""

import inspect
import math
from functools import partial
from typing import Any

import pytest

from striate.models import card, names
from striate.training import RECIPES, Recipe, departures, named_recipe
from striate.training._recipe import value_of as get
from striate.training._schedule import factor

# Per recipe the settings that its paper states, with their values there.
PRINTED: dict[str, dict[str, Any]] = {
    "alexnet": {  # sections 2, 4.1, 5
        "data.size": (256, 256),
        "data.crop_to": (224, 224),
        "augmentation.flip": 0.5,
        "augmentation.lighting": 0.1,
        "batch_size": 128,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 0.0005,
        "optimizer.lr": 0.01,
        "schedule.name": "plateau",
        "epochs": 90,
    },
    "vgg-a": {  # section 3.1, table 3
        "data.size": (256, 256),
        "data.crop_to": (224, 224),
        "batch_size": 256,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 5e-4,
        "optimizer.lr": 1e-2,
        "schedule.name": "plateau",
        "epochs": 74,
    },
    "googlenet": {  # section 6
        "augmentation.area": (0.08, 1.0),
        "augmentation.aspect": 4 / 3,
        "optimizer.momentum": 0.9,
        "schedule.gamma": 1 - 0.04,
        "schedule.every": 8.0,
        "data.crop_to": (224, 224),
    },
    "inception-v3": {  # sections 7, 8
        "loss.label_smoothing": 0.1,
        "optimizer.name": "rmsprop",
        "optimizer.beta2": 0.9,
        "optimizer.epsilon": 1.0,
        "optimizer.lr": 0.045,
        "optimizer.clip_norm": 2.0,
        "schedule.gamma": 0.94,
        "schedule.every": 2.0,
        "batch_size": 32,
        "epochs": 100,
        "data.crop_to": (299, 299),
    },
    "inception-v4": {  # section 4
        "optimizer.name": "rmsprop",
        "optimizer.beta2": 0.9,
        "optimizer.epsilon": 1.0,
        "optimizer.lr": 0.045,
        "optimizer.clip_norm": 0.0,
        "schedule.gamma": 0.94,
        "schedule.every": 2.0,
    },
    "resnet-50": {  # section 3.4
        "data.crop_to": (224, 224),
        "augmentation.lighting": 0.1,
        "batch_size": 256,
        "optimizer.lr": 0.1,
        "optimizer.weight_decay": 0.0001,
        "optimizer.momentum": 0.9,
        "schedule.name": "plateau",
        "schedule.gamma": 0.1,
    },
    "resnet-cifar-20": {  # section 4.2
        "augmentation.crop": 4,
        "augmentation.flip": 0.5,
        "batch_size": 128,
        "optimizer.lr": 0.1,
        "optimizer.weight_decay": 0.0001,
        "optimizer.momentum": 0.9,
        "data.val_fraction": 5 / 50,
    },
    "preact-resnet-200": {"batch_size": 256, "schedule.milestones": (30.0, 60.0), "optimizer.lr": 0.1},  # appendix
    "highway-cifar-19": {  # the released solver
        "optimizer.lr": 0.025,
        "optimizer.nesterov": True,
        "optimizer.weight_decay": 0.001,
        "batch_size": 100,
        "augmentation.crop": 8,
    },
    "highway-mnist-32": {"optimizer.lr": 0.01, "optimizer.nesterov": True, "batch_size": 100},
    "fcn-32s": {  # CVPR 2015, section 4.3 and table 1
        "optimizer.lr": 1e-4,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 5e-4,
        "schedule.name": "constant",
        "batch_size": 20,
        "epochs": 175,
    },
    "fcn-8s": {"optimizer.lr": 1e-6},  # section 4.2: "decreased by a factor of 100"
    "deeplab-v1": {  # ICLR 2015, section 5
        "optimizer.lr": 1e-3,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 5e-4,
        "schedule.gamma": 0.1,
        "batch_size": 20,
    },
    "deeplab-v2-vgg16": {"schedule.name": "polynomial", "schedule.power": 0.9, "batch_size": 10},  # section 4.1.1
    "deeplab-v2-resnet101": {"schedule.power": 0.9, "batch_size": 10, "augmentation.zoom": (0.5, 1.5)},  # 4.1.2
    "nin-cifar10": {"batch_size": 128, "schedule.gamma": 0.1, "schedule.final": 0.01},  # section 4
    "fcn-1d": {  # section III-B and the authors' program
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 0.0,
        "optimizer.lr": 0.001,
        "optimizer.beta2": 0.999,
        "optimizer.epsilon": 1e-8,
        "schedule.name": "plateau",
        "schedule.gamma": 0.5,
        "schedule.wait": 50,
        "schedule.final": 0.0001 / 0.001,
        "epochs": 2000,
        "batch_size": 16,
        "data.standardize": "training",
    },
    "resnet-1d": {"epochs": 1000, "batch_size": 16},
    "nin-imagenet": {"batch_size": 64, "optimizer.lr": 0.01, "optimizer.weight_decay": 0.0005},  # the released solver
}
PRINTED |= {"alexnet-single": PRINTED["alexnet"], "vgg-b": PRINTED["vgg-a"], "vgg-a-lrn": PRINTED["vgg-a"]}
PRINTED["vgg-d"] = {**PRINTED["vgg-a"], "data.size": (384, 384)}  # section 4.1: Q is the middle of 256 and 512


@pytest.mark.parametrize("name", PRINTED)
def test_the_settings_are_the_papers(name: str) -> None:
    recipe = named_recipe(name)
    for key, printed in PRINTED[name].items():
        assert get(recipe, key) == (printed if isinstance(printed, str) else pytest.approx(printed)), key


def rate(recipe: Recipe, batch: float, images: int) -> float:
    """The learning rate of the batch of this number, counted from 0, of a training set of so many images."""
    batches = math.ceil(images / recipe.batch_size)
    return recipe.optimizer.lr * factor(recipe.schedule, (batch + 0.5) / batches, recipe.epochs)


@pytest.mark.parametrize(
    ("name", "images", "rates"),
    [
        (  # He et al. 2015, section 4.2: 0.1, divided by 10 at 32k and 48k iterations
            "resnet-cifar-20",
            45_000,
            {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001},
        ),
        (  # n = 18: 0.01 until about 400 iterations
            "resnet-cifar-110",
            45_000,
            {0: 0.01, 399: 0.01, 400: 0.1, 31_999: 0.1, 32_000: 0.01, 48_000: 0.001},
        ),
        ("preact-resnet-cifar-1001", 45_000, {0: 0.01, 399: 0.01, 400: 0.1, 32_000: 0.01, 48_000: 0.001}),
        # the released solvers: multistep at these iterations, of 500 (600) to an epoch
        ("highway-cifar-19", 50_000, {99_999: 0.025, 100_000: 0.0025, 150_000: 0.00025, 175_000: 0.000025}),
        ("highway-mnist-16", 60_000, {59_999: 0.01, 60_000: 0.001, 120_000: 0.0001}),
        # Chen et al. 2015: "multiplying the learning rate by 0.1 at every 2000 iterations"
        ("deeplab-v1", 10_582, {0: 0.001, 1_999: 0.001, 2_000: 0.0001, 3_999: 0.0001, 4_000: 0.00001}),
        # every 2 (8) epochs by 6 (4) per cent
        ("inception-v3", 1_281_167, {0: 0.045, 80_073: 0.045, 80_076: 0.0423}),
        ("googlenet", 1_281_167, {0: 0.01, 320_300: 0.0096}),
    ],
)
def test_the_rate_falls_at_the_papers_iterations(name: str, images: int, rates: dict[int, float]) -> None:
    recipe = named_recipe(name)
    assert {batch: rate(recipe, batch, images) for batch in rates} == pytest.approx(rates)


@pytest.mark.parametrize(
    ("name", "images", "iterations", "tolerance"),
    [
        ("vgg-d", 1_281_167, 370_000, 1_500),  # "370K iterations (74 epochs)"
        ("resnet-50", 1_281_167, 600_000, 1_500),  # "up to 60 x 10^4 iterations"
        ("resnet-cifar-56", 45_000, 64_000, 352),  # "terminate training at 64k iterations"
        ("highway-cifar-19", 50_000, 200_000, 0),
        ("highway-mnist-32", 60_000, 180_000, 0),
        ("deeplab-v1", 10_582, 6_000, 530),
        ("deeplab-v2-resnet101", 10_582, 20_000, 1_059),
        ("nin-cifar10", 50_000, 120_000, 391),
        ("nin-imagenet", 1_281_167, 450_000, 20_019),
    ],
)
def test_training_ends_with_the_papers_iterations(name: str, images: int, iterations: int, tolerance: int) -> None:
    recipe = named_recipe(name)
    assert abs(recipe.epochs * math.ceil(images / recipe.batch_size) - iterations) <= tolerance


@pytest.mark.parametrize(("name", "smallest", "largest"), [("vgg-e", 256, 512), ("resnet-34", 256, 480)])
def test_scale_jitter_covers_the_papers_range_of_the_shorter_side(name: str, smallest: int, largest: int) -> None:
    recipe = named_recipe(name)
    assert [zoom * recipe.data.size[0] for zoom in recipe.augmentation.zoom] == pytest.approx([smallest, largest])
    assert recipe.data.size[0] == (smallest + largest) / 2


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg-a", "googlenet", "resnet-50", "resnet-cifar-20", "fcn-8s", "deeplab-v1"]
)
def test_only_the_mean_is_taken_from_the_pixels(name: str) -> None:
    """These papers subtract a mean from values in 0..255 and divide by nothing."""
    data = named_recipe(name).data
    assert tuple(255 * std for std in data.std) == pytest.approx((1.0,))
    assert all(100 < 255 * mean < 130 for mean in data.mean)


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg-d", "resnet-152", "resnet-cifar-20", "preact-resnet-cifar-164", "fcn-32s", "deeplab-v1"]
)
def test_papers_that_name_no_exception_decay_everything(name: str) -> None:
    assert named_recipe(name).optimizer.decay_all


def test_alexnet_and_vgg_lower_their_rate_three_times() -> None:
    for name in ("alexnet", "vgg-d"):
        recipe = named_recipe(name)
        flat = [0.5] * 70
        assert recipe.optimizer.lr * factor(recipe.schedule, 70, recipe.epochs, flat) == pytest.approx(1e-5)


def test_every_classification_network_has_its_recipe() -> None:
    networks = {name for name in names() if card(name).task == "classification"} - {"convnet"}
    assert networks <= set(RECIPES)
    for name in networks:
        recipe = named_recipe(name)
        assert recipe.model.name == recipe.name == name
        if recipe.data.kind == "pictures":  # series have the length they have
            assert recipe.data.preprocessing().input_size == (card(name).channels, *card(name).size)


def test_recipes_of_papers_list_their_departures() -> None:
    """None of the papers' trainings can be stated whole; who adds one that can, says "none" and changes this."""
    for name, function in RECIPES.items():
        text = inspect.getdoc(function.func if isinstance(function, partial) else function) or ""
        if named_recipe(name).model.name == "convnet":
            assert departures(name) == []
        else:
            assert len(departures(name)) == text.count("\n- ") > 0
            assert all(len(line) > 15 and not line.endswith(".") for line in departures(name))
