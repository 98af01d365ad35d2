"""Each recipe's small twin trains: finite loss, weights that move; one of them is resumed exactly."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pictures import write_photos
from striate.bundle import load, save_trained
from striate.data import ArraySplit, ClassMap, ImageData, ImageSplit, Masks, Preprocessing, SceneSplit, batches
from striate.data._scenes import Loaded, Scene
from striate.errors import InputError, StriateError
from striate.runtime import Runtime
from striate.training import RECIPES, Interrupted, Listener, Recipe, Run, fit, named_recipe, resume, smoke
from striate.training import _checkpoint as checkpoint
from striate.training._loop import Trainer

# One of each family, the smallest; the others are for `make test-slow`.
QUICK = {
    "lenet5",
    "lenet5-modern",
    "digits-convnet",
    "photos",
    "nin-cifar10",
    "nin-imagenet",
    "vgg-a",
    "googlenet",
    "inception-resnet-v1",
    "resnet-18",
    "resnet-cifar-20",
    "resnet-cifar-110",
    "preact-resnet-cifar-110",
    "highway-cifar-1",
    "highway-mnist-16",
    "fcn-1d",
    "resnet-1d",
    "scenes",
}


def data_for(recipe: Recipe, pictures: int = 6) -> ImageData:
    options = recipe.data
    if options.kind == "signals":
        options = replace(options, channels=2, standardize="series")
    preprocessing = options.preparation()
    generator = np.random.default_rng(0)
    if recipe.data.task == "segmentation":
        return scenes_for(options.preprocessing(), generator, pictures)
    shape = (pictures, *preprocessing.sample_size)
    splits: dict[str, ImageSplit] = {
        part: ArraySplit(
            [f"{part}/{k}" for k in range(pictures)],
            np.arange(pictures) % 3,
            generator.integers(0, 256, shape).astype(preprocessing.dtype),
        )
        for part in ("train", "val", "test")
    }
    return ImageData("tiny", ClassMap(["a", "b", "c"]), preprocessing, splits)


def scenes_for(preprocessing: Preprocessing, generator: np.random.Generator, pictures: int) -> ImageData:
    masks = Masks((0, 1, 2), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
    size = preprocessing.size
    images = generator.integers(0, 256, (pictures, preprocessing.channels, *size), dtype=np.uint8)
    loaded = Loaded(images, generator.integers(0, 3, (pictures, *size), dtype=np.uint8))
    splits: dict[str, ImageSplit] = {
        part: SceneSplit(
            Path("nowhere"),
            [Scene(f"{part}/{k}", f"{part}/{k}", b"", b"", (1, 1, 1)) for k in range(pictures)],
            masks,
            preprocessing,
            loaded,
        )
        for part in ("train", "val", "test")
    }
    whole = replace(preprocessing, crop_to=None)
    return ImageData("tiny", ClassMap(["a", "b", "c"]), whole, splits, masks=masks)


def trainer_for(recipe: Recipe, data: ImageData) -> Trainer:
    """A trainer that writes nothing."""
    run = Run(Path("nowhere"), recipe, "tiny", None, data.classes, data.fingerprint, Runtime(), "cpu", "now")
    return Trainer(run, data, Listener(), lambda: False)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in RECIPES]
)
def test_the_small_twin_of_each_recipe_trains(name: str) -> None:
    recipe = named_recipe(f"{name}_smoke").replace(batch_size=3)
    if name in {"fcn-16s", "fcn-8s"}:  # the rate is for a trained network; from scores of 0 it moves too little to see
        recipe = recipe.set(["optimizer.lr=1e-4"])
    data = data_for(recipe)
    with torch.random.fork_rng(devices=[]):
        trainer = trainer_for(recipe, data)
        before = {key: value.detach().clone() for key, value in trainer.model.named_parameters()}
        for indices, images, labels in batches(data.splits["train"], np.arange(6), 3):
            trainer.step(indices, images, labels)
    assert math.isfinite(trainer.position.loss_sum)
    after = dict(trainer.model.named_parameters())
    assert all(bool(value.isfinite().all()) for value in after.values())
    still = [key for key, value in before.items() if value.ndim > 1 and torch.equal(value, after[key])]
    assert still == []


def test_a_twin_changes_size_and_length_only() -> None:
    recipe, twin = named_recipe("inception-v3"), named_recipe("inception-v3_smoke")
    assert twin == smoke(recipe)
    assert twin.name == "inception-v3_smoke"
    assert (twin.model, twin.optimizer, twin.augmentation, twin.loss, twin.ema) == (
        recipe.model,
        recipe.optimizer,
        recipe.augmentation,
        recipe.loss,
        recipe.ema,
    )
    assert twin.data.crop_to == (75, 75)
    assert twin.data.size[0] / 75 == pytest.approx(342 / 299, abs=0.01)
    assert twin.schedule.every / twin.epochs == pytest.approx(recipe.schedule.every / recipe.epochs)
    warm = named_recipe("resnet-cifar-110_smoke").schedule
    assert 0 < warm.warmup < warm.milestones[0] < warm.milestones[1] < twin.epochs
    assert (named_recipe("digits_smoke").data.size, named_recipe("digits_smoke").data.border) == ((28, 28), 2)


def test_an_unknown_twin() -> None:
    with pytest.raises(InputError, match="unknown recipe 'resnet-51_smoke'; did you mean 'resnet-5"):
        named_recipe("resnet-51_smoke")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("photos")
    write_photos(room / "photos", per_class=10, size=(40, 48))
    return room / "photos"


def stop_at(step: int) -> Callable[[], bool]:
    """A `stop` that is true when it is asked for the so-manieth time."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= step


def last(folder: Path) -> dict[str, torch.Tensor]:
    run = Run.open(folder)
    saved = checkpoint.latest(run.checkpoints)
    assert saved is not None
    return {**saved.tensors, **{f"best.{key}": value for key, value in checkpoint.read(run.best).tensors.items()}}


# windows, colours, a plateau, rmsprop, averaged weights, clipping, Nesterov: whatever has state or randomness
EVERYTHING = named_recipe("nin-cifar10_smoke").set(
    [
        "data.size=20,20",
        "data.crop_to=16,16",
        "augmentation.crop=0",
        "augmentation.area=0.1,1",
        "augmentation.aspect=1.333",
        "augmentation.brightness=0.5",
        "augmentation.contrast=0.5",
        "augmentation.saturation=0.5",
        "augmentation.lighting=0.1",
        "optimizer.name=rmsprop",
        "optimizer.lr=0.001",
        "optimizer.beta2=0.9",
        "optimizer.epsilon=1",
        "optimizer.decay_all=true",
        "optimizer.clip_norm=2",
        "schedule.warmup=0.5",
        "schedule.warmup_rate=0.1",
        "ema=0.9",
        "epochs=4",
        "batch_size=5",
    ]
)


def test_everything_that_recipes_have_is_resumed_exactly(photos: Path, tmp_path: Path) -> None:
    whole = fit(EVERYTHING, str(photos), tmp_path / "whole", threads=1)
    rates = [row["lr"] for row in whole.history]
    assert rates[-1] < rates[0], "the plateau, counted from the history, has lowered the rate"
    for stop in (1, 9):
        folder = tmp_path / f"stopped-{stop}"
        with pytest.raises(Interrupted):
            fit(EVERYTHING, str(photos), folder, threads=1, stop=stop_at(stop))
        again = resume(folder)
        assert [row["lr"] for row in again.history] == rates
        a, b = last(tmp_path / "whole"), last(folder)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_bundle_sees_the_middle_that_the_run_measured(photos: Path, tmp_path: Path) -> None:
    trained = fit(EVERYTHING.replace(epochs=1), str(photos), tmp_path / "run", threads=1)
    bundle = load(save_trained(trained))
    assert bundle.preprocessing.crop_to == (16, 16)
    assert bundle.model.input_size == (3, 16, 16)
    test = trained.data.splits["test"]
    images = torch.from_numpy(test.load(range(len(test))))
    middle = bundle.preprocessing(images)
    assert middle.shape[2:] == (16, 16)
    with torch.inference_mode():
        right = int((bundle.model(middle).argmax(1) == torch.from_numpy(test.labels)).sum())
    assert right == trained.evaluation.correct


def test_a_single_image_left_over_is_one_sentence() -> None:
    recipe = named_recipe("resnet-18_smoke").replace(batch_size=5)
    data = data_for(recipe)
    trainer = trainer_for(recipe, data)
    indices, images, labels = next(batches(data.splits["train"], np.arange(1), 5))
    with pytest.raises(StriateError, match=r"this batch has 1 image: change the batch size .*--set batch_size=6"):
        trainer.step(indices, images, labels)
