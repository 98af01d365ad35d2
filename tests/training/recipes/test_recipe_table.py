"""docs/recipes.md is what the recipes are: `striate recipes --markdown` makes its table."""

import json
from pathlib import Path

import pytest

from commands import striate
from striate.data import Augmentation
from striate.training import RECIPES, OptimizerOptions, ScheduleOptions
from striate.training.recipes import table
from striate.training.recipes._table import augmentation_words, optimizer_words, schedule_words

PAGE = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_the_page_has_the_table() -> None:
    assert table() in PAGE, "run: striate recipes --markdown, and put the result into docs/recipes.md"


def test_every_recipe_is_in_a_row_and_has_its_departures() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    headings = [line for line in PAGE.splitlines() if line.startswith("**`")]
    for name in RECIPES:
        assert sum(f"`{name}`" in row.split(" | ")[0] for row in rows) == 1
        assert sum(f"`{name}`" in heading for heading in headings) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (OptimizerOptions("sgd", lr=0.1, weight_decay=1e-4, decay_all=True), "weight decay 0.0001 of all"),
        (OptimizerOptions("sgd", nesterov=True), "Nesterov momentum 0.9"),
        (OptimizerOptions("rmsprop", beta2=0.9, epsilon=1.0), "decay of squares 0.9, epsilon 1"),
        (OptimizerOptions("sgd", clip_norm=2.0), "norm of the gradient up to 2"),
    ],
)
def test_optimisers_in_words(options: OptimizerOptions, words: str) -> None:
    assert words in optimizer_words(options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ScheduleOptions("constant"), "constant"),
        (ScheduleOptions("polynomial", power=0.5), "(1 - t)^0.5 to 0"),
        (ScheduleOptions("step", milestones=(3.0, 6.5)), "x 0.1 at epoch 3, 6.5"),
        (
            ScheduleOptions("exponential", gamma=0.94, every=2.0, final=0.1),
            "x 0.94 every 2 epochs, down to 0.1",
        ),
        (ScheduleOptions("cosine", warmup=2.0), "rising from 0 for 2 epochs, then cosine to 0"),
        (ScheduleOptions("constant", warmup=1.0, warmup_rate=0.1), "x 0.1 for 1 epochs, then constant"),
    ],
)
def test_schedules_in_words(options: ScheduleOptions, words: str) -> None:
    assert schedule_words(options) == words


def test_augmentations_in_words() -> None:
    assert augmentation_words(Augmentation()) == "none"
    assert (
        augmentation_words(Augmentation(rotate=10, crop=4, flip=0.5)) == "rotate 10, moved by up to 4 pixels, mirrored"
    )
    assert augmentation_words(Augmentation(area=(0.08, 1), aspect=4 / 3)) == "windows of 8% to 100%, aspect up to 1.33"
    assert augmentation_words(Augmentation(zoom=(0.5, 2), lighting=0.1)) == (
        "windows at 0.5 to 2 times the size, lighting 0.1"
    )


def test_the_command_lists_them() -> None:
    code, out, _ = striate("recipes")
    assert code == 0
    assert all(f"\n{name}\n" in f"\n{out}" for name in RECIPES)
    listed = json.loads(striate("recipes", "--json").out)
    assert [recipe["name"] for recipe in listed] == list(RECIPES)
    assert striate("recipes", "--markdown").out.rstrip("\n") == table()
