"""Which recipe a data set and a network get when nobody names one."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from striate.data import count_scenes, count_training, is_signals
from striate.errors import InputError
from striate.models import card
from striate.training._recipe import ModelOptions, Recipe
from striate.training.recipes._data import CIFAR10_MEAN, CIFAR10_STD, IMAGENET_MEAN
from striate.training.recipes._names import RECIPES, named_recipe

# A folder is seen until so many pictures have been trained on in all, but in no fewer and no more epochs than these.
PICTURES_IN_ALL, FEWEST_EPOCHS, MOST_EPOCHS = 128_000, 20, 200
SCENES_IN_ALL, FEWEST_OF_SCENES = 7_300, 10
BY_DATA = {"digits": "digits", "mnist": "lenet5", "fashion-mnist": "small-images", "cifar10": "small-color-images"}


class Pictures(NamedTuple):
    """What a known set has of its own: means and deviations per channel, and whether a mirror image is as good."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirrored: bool


PICTURES = {
    "digits": Pictures((0.305,), (0.376,), mirrored=False),
    "mnist": Pictures((0.131,), (0.308,), mirrored=False),
    "fashion-mnist": Pictures((0.286,), (0.353,), mirrored=True),
    "cifar10": Pictures(CIFAR10_MEAN, CIFAR10_STD, mirrored=True),
}


def default_recipe(data: str, model: str | None = None, task: str | None = None) -> Recipe:
    """Return the recipe for a known data set, or a folder of pictures or series, for its usual or the named model.

    `task` is the folder's: "segmentation" for pictures with masks; None: "classification". A network with a recipe of
    its own brings it, fitted to the channels, means and symmetry of a known set. Others are trained on a folder for as
    many epochs as the number of its pictures asks for.
    """
    scenes = task == "segmentation"
    if scenes:
        recipe = lasting(named_recipe("scenes"), Path(data))
    elif data in BY_DATA:
        recipe = named_recipe(BY_DATA[data])
    else:
        recipe = named_recipe("signals") if is_signals(data) else lasting(named_recipe("photos"), Path(data))
    if model is None or (model == recipe.model.name and not scenes):
        return recipe
    card(model)
    if model in RECIPES:
        return fitted(named_recipe(model), data)
    if model == "convnet" and recipe.model.name == "lenet5":
        return named_recipe("digits-convnet")
    return recipe.replace(model=ModelOptions(model))


def lasting(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with the epochs for the pictures in a folder; what is no such folder is told of elsewhere."""
    scenes = recipe.data.task == "segmentation"
    in_all, fewest = (SCENES_IN_ALL, FEWEST_OF_SCENES) if scenes else (PICTURES_IN_ALL, FEWEST_EPOCHS)
    with suppress(InputError):
        pictures = (count_scenes if scenes else count_training)(folder, recipe.data)
        return recipe.replace(epochs=min(max(round(in_all / max(pictures, 1)), fewest), MOST_EPOCHS))
    return recipe


def fitted(recipe: Recipe, data: str) -> Recipe:
    """Return a recipe with a known set's channels (never more than its own), means and symmetry; folders stay."""
    pictures = PICTURES.get(data)
    if pictures is None:
        return recipe
    options, changes = recipe.data, recipe.augmentation
    channels = min(options.channels, len(pictures.mean))
    if channels < len(pictures.mean):
        return recipe  # a network for grey pictures: their statistics are not those of the set's colours
    mean, std = _reduced(options.mean, channels), _reduced(options.std, channels)
    if options.mean in {IMAGENET_MEAN, CIFAR10_MEAN}:
        mean = pictures.mean
    if options.std == CIFAR10_STD:
        std = pictures.std
    if not pictures.mirrored:
        changes = replace(changes, flip=0.0)
    return recipe.replace(data=replace(options, channels=channels, mean=mean, std=std), augmentation=changes)


def _reduced(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) <= channels else (sum(values) / len(values),)
