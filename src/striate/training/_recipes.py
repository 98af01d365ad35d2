"""Recipes by name: functions that return frozen values. `RECIPES` is data; `default_recipe` chooses for a data set."""

from collections.abc import Callable

from striate.data import LENET_DISTORTIONS, Augmentation, DataOptions
from striate.errors import InputError, did_you_mean
from striate.models import card
from striate.training._recipe import LossOptions, ModelOptions, OptimizerOptions, Recipe, ScheduleOptions

# The background becomes -0.1 and the foreground 1.175, so that mean and variance are about 0 and 1 (LeCun et al. 1998).
LENET_INPUT = DataOptions(channels=1, size=(28, 28), border=2, mean=(0.1 / 1.275,), std=(1 / 1.275,))


def lenet5() -> Recipe:
    """LeNet-5 on MNIST: the paper's input scaling, MAP criterion and 20 epochs.

    Departure: the paper takes single samples with a stochastic diagonal Levenberg-Marquardt method; here it is AdamW
    on batches with a cosine schedule, and the weights are averaged.
    """
    return Recipe(
        name="lenet5",
        model=ModelOptions("lenet5"),
        data=LENET_INPUT,
        loss=LossOptions("rbf_map", j=1.0),
        optimizer=OptimizerOptions("adamw", lr=3e-3, weight_decay=0.05),
        schedule=ScheduleOptions("cosine", warmup=0.5, final=0.01),
        epochs=20,
        batch_size=64,
        ema=0.999,
    )


def lenet5_distortions() -> Recipe:
    """LeNet-5 on MNIST with the paper's random planar distortions: shift, scale, squeeze and shear."""
    return lenet5().replace(name="lenet5-distortions", augmentation=LENET_DISTORTIONS, epochs=30)


def lenet5_modern() -> Recipe:
    """LeNet-5 as usually written today: softmax and cross-entropy."""
    return lenet5().replace(name="lenet5-modern", model=ModelOptions("lenet5-modern"), loss=LossOptions())


def digits() -> Recipe:
    """LeNet-5 of 1998 on scikit-learn's 1,797 digits of 8 x 8 pixels, brought to 28 x 28, lightly distorted."""
    return lenet5().replace(
        name="digits",
        augmentation=LENET_DISTORTIONS,
        epochs=60,
        batch_size=32,
        ema=0.995,
    )


def small_images() -> Recipe:
    """The typical network on small grey images such as Fashion-MNIST's."""
    return Recipe(
        name="small-images",
        model=ModelOptions("convnet", {"blocks": [[2, 32, 1], [2, 64, 1], [2, 128, 0]], "dropout": 0.2}),
        data=DataOptions(channels=1, size=(28, 28), mean=(0.286,), std=(0.353,)),
        augmentation=Augmentation(flip=0.5, crop=2),
        loss=LossOptions(label_smoothing=0.1),
        optimizer=OptimizerOptions("sgd", lr=0.1, weight_decay=5e-4, nesterov=True),
        schedule=ScheduleOptions("cosine", warmup=1.0),
        epochs=12,
        batch_size=128,
        ema=0.995,
    )


def digits_convnet() -> Recipe:
    """The typical network on digits: LeNet's input and distortions, no flips."""
    return small_images().replace(name="digits-convnet", data=LENET_INPUT, augmentation=LENET_DISTORTIONS)


def small_color_images() -> Recipe:
    """The typical network on small colour images such as CIFAR-10's."""
    return small_images().replace(
        name="small-color-images",
        model=ModelOptions("convnet", {"blocks": [[2, 64, 1], [2, 128, 1], [2, 256, 1]], "dropout": 0.2}),
        data=DataOptions(channels=3, size=(32, 32), mean=(0.491, 0.482, 0.447), std=(0.247, 0.243, 0.262)),
        augmentation=Augmentation(flip=0.5, crop=4),
        epochs=20,
    )


def photos() -> Recipe:
    """The typical network on a folder of photographs, cut to 96 x 96."""
    return small_color_images().replace(
        name="photos",
        model=ModelOptions("convnet", {"blocks": [[1, 32, 1], [2, 64, 1], [2, 128, 1], [2, 256, 1]], "dropout": 0.2}),
        data=DataOptions(channels=3, size=(96, 96), fit="crop", mean=(0.5,), std=(0.25,)),
        augmentation=Augmentation(flip=0.5, shift=0.08, scale=0.15, rotate=10.0),
        epochs=30,
        batch_size=64,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "lenet5": lenet5,
    "lenet5-distortions": lenet5_distortions,
    "lenet5-modern": lenet5_modern,
    "digits": digits,
    "digits-convnet": digits_convnet,
    "small-images": small_images,
    "small-color-images": small_color_images,
    "photos": photos,
}

BY_DATA = {"digits": "digits", "mnist": "lenet5", "fashion-mnist": "small-images", "cifar10": "small-color-images"}
BY_MODEL = {"lenet5": "lenet5", "lenet5-modern": "lenet5-modern"}


def named_recipe(name: str) -> Recipe:
    """Return a recipe by its name; raises InputError for an unknown one."""
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}{did_you_mean(name, RECIPES)}")
    return RECIPES[name]()


def default_recipe(data: str, model: str | None = None) -> Recipe:
    """Return the recipe for a known data set or a folder (any other word), for its usual or the named model."""
    recipe = named_recipe(BY_DATA.get(data, "photos"))
    if model is None or model == recipe.model.name:
        return recipe
    card(model)
    if model in BY_MODEL:
        return named_recipe(BY_MODEL[model])
    if recipe.model.name in BY_MODEL:
        return digits_convnet()
    return recipe.replace(model=ModelOptions(model))
