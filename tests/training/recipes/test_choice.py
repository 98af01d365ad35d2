"""The recipe that a data set and a network get together."""

from pathlib import Path

import pytest

from striate.data import DataOptions, count_training, open_data
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
            if named_recipe(name).data.kind == "pictures":
                default_recipe(data, model).data.preprocessing()


def write_names(root: Path, per_class: int) -> None:
    """Two classes of so many files, which nobody opens."""
    for name in ("daisy", "rose"):
        (root / name).mkdir(parents=True)
        for k in range(per_class):
            (root / name / f"{k}.jpg").touch()


@pytest.mark.parametrize(
    ("pictures", "epochs"),
    [(8, 200), (400, 200), (2000, 85), (4000, 43), (12_000, 20)],  # three quarters of them are trained on
)
def test_a_folder_of_fewer_pictures_is_gone_through_more_often(tmp_path: Path, pictures: int, epochs: int) -> None:
    """128,000 pictures in all, between 20 and 200 epochs."""
    write_names(tmp_path, pictures // 2)
    chosen = default_recipe(str(tmp_path))
    assert chosen == named_recipe("photos").replace(epochs=epochs)
    assert default_recipe(str(tmp_path), "resnet-18") == named_recipe("resnet-18"), "its paper says how long"


def test_what_is_trained_on_is_counted_without_what_is_set_aside(tmp_path: Path) -> None:
    options = DataOptions(val_fraction=0.25, test_fraction=0.25)
    write_names(tmp_path / "train", 8)
    assert count_training(tmp_path, options) == 8
    write_names(tmp_path / "val", 5)
    assert count_training(tmp_path, options) == 12
    write_names(tmp_path / "test", 5)
    assert count_training(tmp_path, options) == 16


@pytest.mark.parametrize("kind", ["missing", "file", "without classes"])
def test_what_is_no_folder_of_classes_is_left_to_those_who_open_it(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.touch()
    elif kind == "without classes":
        place.mkdir()
    assert default_recipe(str(place)) == named_recipe("photos")
