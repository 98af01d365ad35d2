"""Recipes: typed settings, exact round trips, messages."""

import json
from pathlib import Path

import pytest

from striate.errors import InputError
from striate.training import RECIPES, Recipe, default_recipe, named_recipe
from striate.training._recipe import differences, keys


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name: str) -> None:
    recipe = named_recipe(name)
    assert recipe.name == name
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("setting", "key", "expected"),
    [
        ("optimizer.lr=0.05", "optimizer.lr", 0.05),
        ("optimizer.lr=1", "optimizer.lr", 1.0),
        ("optimizer.nesterov=yes", "optimizer.nesterov", True),
        ("epochs = 3", "epochs", 3),
        ("data.size=64,48", "data.size", (64, 48)),
        ("data.size=[64, 48]", "data.size", (64, 48)),
        ("data.mean=0.5", "data.mean", (0.5,)),
        ("schedule.milestones=3,6.5", "schedule.milestones", (3.0, 6.5)),
        ("loss.name=rbf_mse", "loss.name", "rbf_mse"),
        ("data.crop_to=24,20", "data.crop_to", (24, 20)),
        ("data.crop_to=none", "data.crop_to", None),
        ("augmentation.area=0.08,1", "augmentation.area", (0.08, 1.0)),
        ("schedule.name=plateau", "schedule.name", "plateau"),
        ("freeze=-1", "freeze", "-1"),
        ("freeze=conv1,conv2", "freeze", "conv1,conv2"),
        ("optimizer.decay_all=true", "optimizer.decay_all", True),
        ("model.options.dropout=0.5", "model.options", {"dropout": 0.5}),
    ],
)
def test_settings_take_the_type_of_their_field(setting: str, key: str, expected: object) -> None:
    value: object = named_recipe("lenet5").set([setting])
    for part in key.split("."):
        value = getattr(value, part)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("optimizer.ls=1", "--set optimizer.ls: no such setting; did you mean 'optimizer.lr'?"),
        ("epochs", "--set epochs: expected key=value, for example optimizer.lr=0.05"),
        ("epochs=3.5", "epochs=3.5: expected a whole number"),
        ("epochs=many", "--set epochs=many: expected a whole number"),
        ("epochs=0", "epochs=0: must be 1 or more"),
        ("epochs=true", "epochs=True: expected a whole number"),
        ("optimizer.nesterov=maybe", "optimizer.nesterov=maybe: expected true or false"),
        ("optimizer.name=adam", "optimizer.name=adam: expected one of sgd, rmsprop, adamw"),
        ("optimizer.lr=-1", "optimizer.lr=-1.0: must be above 0"),
        ("data.size=32", "data.size=32: expected 2 values separated by a comma, each a whole number"),
        ("data.size=a,b", "data.size=a,b: expected 2 values separated by a comma, each a whole number"),
        ("loss.label_smoothing=0.1", "loss.label_smoothing=0.1: must be 0 with an RBF loss"),
        ("micro_batch=-1", "micro_batch=-1: must be 0 or more"),
        ("sampling=fair", "sampling=fair: expected one of all, balanced"),
        ("optimizer.layer_decay=0", "optimizer.layer_decay=0.0: must be above 0 and at most 1"),
        ("optimizer.layer_decay=1.5", "optimizer.layer_decay=1.5: must be above 0 and at most 1"),
        ("ema=1", "ema=1.0: must be at least 0 and below 1"),
        ("data.crop_to=24", "data.crop_to=24: expected 2 values separated by a comma, each a whole number"),
        (
            "data.crop_to=40,40",
            "preprocessing: crop_to must be (height, width) of 1 x 1 to 32 x 32, the size with its border, "
            "or none, got (40, 40)",
        ),
        ("augmentation.zoom=2", "augmentation.zoom=2: expected 2 values separated by a comma, each a number"),
        ("optimizer.epsilon=0", "optimizer.epsilon=0.0: must be above 0"),
        ("schedule.every=0", "schedule.every=0.0: must be above 0 epochs"),
        ("schedule.wait=0", "schedule.wait=0: must be 1 epoch or more"),
        ("schedule.power=0", "schedule.power=0.0: must be above 0"),
        ("schedule.warmup_rate=2", "schedule.warmup_rate=2.0: must be a fraction between 0 and 1"),
        ("schedule.milestones=2,1", "schedule.milestones=(2.0, 1.0): must be in rising order"),
    ],
)
def test_a_wrong_setting_is_one_sentence(setting: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        named_recipe("lenet5").set([setting])
    assert str(caught.value) == sentence


def test_reading_refuses_what_it_does_not_know() -> None:
    values = named_recipe("lenet5").to_json()
    values["optimizer"]["momentun"] = 0.5
    with pytest.raises(InputError, match=r"optimizer\.momentun: no such setting; did you mean 'momentum'\?"):
        Recipe.from_json(values)
    del values["optimizer"]["momentun"], values["model"]
    with pytest.raises(InputError, match="model: this setting is missing"):
        Recipe.from_json(values)


def test_differences_name_the_settings() -> None:
    recipe = named_recipe("lenet5")
    assert differences(recipe, recipe) == []
    assert differences(recipe, recipe.set(["epochs=7", "optimizer.lr=0.5"])) == [
        "optimizer.lr: 0.003 -> 0.5",
        f"epochs: {recipe.epochs} -> 7",
    ]


def test_the_set_of_settings_is_frozen() -> None:
    """A recipe written today must be readable tomorrow: a new or renamed setting is a decision, not an accident."""
    assert [key for key in keys() if not key.startswith(("data.", "augmentation."))] == [
        "name",
        "model.name",
        "model.options",
        "mixing.mixup",
        "mixing.cutmix",
        "loss.name",
        "loss.label_smoothing",
        "loss.j",
        "loss.class_weights",
        "optimizer.name",
        "optimizer.lr",
        "optimizer.momentum",
        "optimizer.nesterov",
        "optimizer.beta2",
        "optimizer.epsilon",
        "optimizer.weight_decay",
        "optimizer.decay_all",
        "optimizer.clip_norm",
        "optimizer.layer_decay",
        "schedule.name",
        "schedule.warmup",
        "schedule.warmup_rate",
        "schedule.final",
        "schedule.gamma",
        "schedule.milestones",
        "schedule.every",
        "schedule.wait",
        "schedule.power",
        "epochs",
        "batch_size",
        "micro_batch",
        "sampling",
        "freeze",
        "seed",
        "ema",
        "patience",
        "channels_last",
    ]


@pytest.mark.parametrize(
    ("data", "model", "recipe", "network"),
    [
        ("digits", None, "digits", "lenet5"),
        ("mnist", None, "lenet5", "lenet5"),
        ("mnist", "lenet5", "lenet5", "lenet5"),
        ("mnist", "lenet5-modern", "lenet5-modern", "lenet5-modern"),
        ("mnist", "convnet", "digits-convnet", "convnet"),
        ("cifar10", None, "small-color-images", "convnet"),
        ("cifar10", "lenet5", "lenet5", "lenet5"),
        ("photos/of/flowers", None, "photos", "convnet"),
        ("photos/of/flowers", "lenet5", "lenet5", "lenet5"),
    ],
)
def test_the_default_recipe_fits_data_and_model(data: str, model: str | None, recipe: str, network: str) -> None:
    chosen = default_recipe(data, model)
    assert (chosen.name, chosen.model.name) == (recipe, network)


def test_digits_are_never_flipped() -> None:
    for data in ("digits", "mnist"):
        for model in (None, "lenet5", "lenet5-modern", "convnet"):
            assert default_recipe(data, model).augmentation.flip == 0


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="unknown recipe 'lenet'; did you mean 'lenet5'"):
        named_recipe("lenet")
    with pytest.raises(InputError, match="unknown model 'lenet-5'; did you mean 'lenet5'"):
        default_recipe("mnist", "lenet-5")


def test_every_setting_is_documented() -> None:
    docs = Path(__file__).parents[2] / "docs"
    pages = {name: (docs / f"{name}.md").read_text(encoding="utf-8") for name in ("training", "data")}
    for key in keys():
        room, _, setting = key.rpartition(".")
        page = pages["data" if room == "augmentation" else "training"]
        assert f"`{setting}`" in page or f"{room}.{setting}" in page or key == "name", key


def test_a_recipe_from_before_a_setting_reads_as_it_was_meant() -> None:
    values = named_recipe("digits-convnet").to_json()
    for key in ("micro_batch", "sampling", "freeze", "mixing"):
        del values[key]
    del values["loss"]["class_weights"], values["optimizer"]["layer_decay"]
    assert Recipe.from_json(values) == named_recipe("digits-convnet")


def test_sampling_of_masks_is_refused() -> None:
    with pytest.raises(InputError, match="sampling=balanced: must be all for segmentation"):
        named_recipe("digits-convnet").set(["sampling=balanced", "data.task=segmentation"])
