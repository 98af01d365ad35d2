"""The recipe that a data set and a network get together."""

import pytest

from striate.data import open_data
from striate.training import RECIPES, default_recipe, named_recipe


@pytest.mark.parametrize("name", ["resnet-18", "vgg-d", "resnet-cifar-20", "highway-mnist-16", "inception-v3"])
def test_a_folder_gets_the_recipe_as_it_is(name: str) -> None:
    assert default_recipe("photos/of/flowers", name) == named_recipe(name)


@pytest.mark.parametrize("data", ["digits", "mnist", "fashion-mnist"])
@pytest.mark.parametrize("name", ["resnet-cifar-20", "nin-cifar10", "vgg-a", "inception-v3", "highway-mnist-16"])
def test_a_grey_set_stays_grey(data: str, name: str) -> None:
    recipe = default_recipe(data, name)
    paper = named_recipe(name)
    assert recipe.data.channels == len(recipe.data.mean) == len(recipe.data.std) == 1
    assert recipe.augmentation.flip == (0.0 if data != "fashion-mnist" else paper.augmentation.flip)
    assert (recipe.name, recipe.data.size, recipe.optimizer) == (name, paper.data.size, paper.optimizer)


def test_means_are_those_of_the_set_and_scales_those_of_the_recipe() -> None:
    assert default_recipe("cifar10", "vgg-a").data.mean == named_recipe("resnet-cifar-20").data.mean
    assert default_recipe("cifar10", "vgg-a").data.std == named_recipe("vgg-a").data.std
    assert default_recipe("mnist", "nin-cifar10").data.std == (0.308,), "standardised, so by its own deviation"
    assert default_recipe("mnist", "inception-v3").data.mean == (0.5,), "not a mean but a range, -1 to 1"
    assert default_recipe("cifar10", "resnet-cifar-20") == named_recipe("resnet-cifar-20")
    assert default_recipe("cifar10", "highway-mnist-16") == named_recipe("highway-mnist-16")


def test_the_statistics_of_the_digits_are_theirs() -> None:
    recipe = default_recipe("digits", "nin-cifar10")
    images = open_data("digits", recipe.set(["data.size=8,8"]).data, seed=0).splits["train"].load(range(1000)) / 255
    assert images.mean() == pytest.approx(recipe.data.mean[0], abs=0.005)
    assert images.std() == pytest.approx(recipe.data.std[0], abs=0.005)


def test_every_recipe_builds_a_preprocessing_for_every_set() -> None:
    for name in RECIPES:
        model = named_recipe(name).model.name
        for data in ("digits", "mnist", "fashion-mnist", "cifar10", "folder"):
            default_recipe(data, model).data.preprocessing()
