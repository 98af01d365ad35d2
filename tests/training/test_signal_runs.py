"""Whole runs on series: from files to a bundle, exact resume, what is stored, the worst drawn as lines."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from commands import striate
from series import write_folders, write_ucr
from striate.bundle import load
from striate.data import SignalPreprocessing, sample_keys
from striate.errors import InputError, Interrupted
from striate.training import MixingOptions, Run, fit, named_recipe, resume
from striate.training import _checkpoint as checkpoint
from striate.training._mixing import mix

RECIPE = named_recipe("signals").set(
    ["epochs=2", "batch_size=8", "augmentation.shift=0.1", "augmentation.scale=0.1", "augmentation.noise=0.05"]
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("series") / "slopes", per_class=12, channels=2, lengths=(12, 16))


@pytest.fixture(scope="module")
def run(root: Path) -> Path:
    """A run of the command, with the network and the recipe that a folder of series gets."""
    folder = root.parent / "run"
    outcome = striate("train", root, "--out", folder, "--set", "epochs=2", "--threads", 1, "--seed", 3)
    assert outcome.code == 0, outcome.err
    assert (
        "series of 2 x 16 (channels x length, pad), standardised by the mean and deviation in the recipe" in outcome.err
    )
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    last = checkpoint.latest(Run.open(folder).checkpoints)
    assert last is not None
    best = checkpoint.read(folder / "checkpoints" / "best.safetensors").tensors
    return {**last.tensors, **{f"best.{key}": value for key, value in best.items()}}


@pytest.mark.parametrize("steps", [1, 4])
def test_an_interrupted_run_ends_in_the_same_bits(root: Path, tmp_path: Path, steps: int) -> None:
    """Three steps an epoch."""
    fit(RECIPE, str(root), tmp_path / "whole", threads=1)
    asked = iter(range(1, 100))
    with pytest.raises(Interrupted):
        fit(RECIPE, str(root), tmp_path / "run", threads=1, stop=lambda: next(asked) >= steps)
    resume(tmp_path / "run")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_recipe_holds_what_was_read_off_the_data(run: Path) -> None:
    recipe = json.loads((run / "recipe.json").read_text())
    assert (recipe["name"], recipe["model"]["name"]) == ("signals", "fcn-1d")
    data = recipe["data"]
    assert (data["kind"], data["channels"], data["length"], data["standardize"]) == ("signals", 2, 16, "given")
    bundle = load(run / "model.striate")
    assert bundle.preprocessing == SignalPreprocessing(2, 16, "pad", "given", tuple(data["mean"]), tuple(data["std"]))
    assert bundle.golden_images.dtype == np.float32


def test_evaluate_predict_verify_inspect(run: Path, root: Path, tmp_path: Path) -> None:
    recorded = json.loads((run / "evaluation.json").read_text())
    outcome = striate("evaluate", run, root, "--json", "--report", tmp_path / "report.html")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert (result["total"], result["accuracy"]) == (recorded["total"], recorded["accuracy"])
    assert striate("verify", run / "model.striate").code == 0
    assert "input 2 x 16" in striate("inspect", run).out
    (tmp_path / "more").mkdir()
    np.save(tmp_path / "more" / "up.npy", 5 + 2 * np.linspace(-1, 1, 40)[:, None] * [1, 2])
    (tmp_path / "more" / "one.csv").write_text("1\n2\n")
    (tmp_path / "more" / "photo.jpg").write_bytes(b"")
    outcome = striate("predict", run, tmp_path / "more", "--json")
    assert outcome.code == 1
    one, up = (json.loads(line) for line in outcome.out.splitlines())
    assert "has 1 column, expected 2" in one["error"]
    assert up["label"] in {"fall", "rise"}
    logits = load(run / "model.striate")
    canvas = logits.preprocessing(torch.from_numpy(logits.preprocessing.fitted(np.load(up["path"])))[None])  # type: ignore[attr-defined]
    with torch.no_grad():
        chance = torch.softmax(logits.model(canvas) / logits.temperature, 1)[0]
    assert up["probability"] == pytest.approx(float(chance.max()), abs=1e-4)
    outcome = striate("predict", run, tmp_path / "run")
    assert outcome.code == 1


def test_mistakes_are_drawn_as_lines(root: Path, tmp_path: Path) -> None:
    """Labels by chance: there are mistakes; the picture is an SVG with a line for each channel."""
    generator = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        for k in range(12):
            np.save(tmp_path / "data" / label / f"{k}.npy", generator.normal(0, 1, (9 + k, 2)))
    fit(RECIPE.replace(epochs=1), str(tmp_path / "data"), tmp_path / "run", threads=1)
    page = (tmp_path / "run" / "report.html").read_text()
    drawn = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)"', page)
    mistakes = json.loads((tmp_path / "run" / "evaluation.json").read_text())["worst"]
    assert len(drawn) == len(mistakes) > 0
    svg = base64.b64decode(drawn[0]).decode()
    assert len(ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert "nan" not in svg
    assert "moments" in page


def test_series_are_mixed_as_pictures_of_one_row_are() -> None:
    series, labels = torch.randn(6, 2, 9), torch.tensor([0, 1, 2, 0, 1, 2])
    keys = sample_keys([str(k) for k in range(6)])
    options = MixingOptions(mixup=0.4)
    mixed, shares = mix(series, labels, keys, classes=3, seed=0, epoch=1, options=options)
    pictures, same = mix(series[:, :, None], labels, keys, classes=3, seed=0, epoch=1, options=options)
    assert torch.equal(mixed, pictures[:, :, 0])
    assert torch.equal(shares, same)
    assert not torch.equal(mixed, series)


def test_tables_train_too(tmp_path: Path) -> None:
    write_ucr(tmp_path / "cbf", "CBF", {"TRAIN": 5, "TEST": 2})
    outcome = striate("train", tmp_path / "cbf", "--out", tmp_path / "run", "--set", "epochs=1", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["total"] == 6
    outcome = striate("evaluate", tmp_path / "run", tmp_path / "cbf" / "CBF_TEST.tsv", "--json")
    assert json.loads(outcome.out)["total"] == 6


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--model", "convnet"), "model 'convnet' takes pictures (height, width) and was given series (length)"),
        (("--set", "augmentation.flip=0.5"), "augmentation: flip is no change for signals"),
        (("--set", "data.size=8,8"), "data: size is a setting of pictures"),
        (("--recipe", "photos"), "has series (.csv, .tsv, .npy), not pictures: train with --recipe signals"),
        (("--set", "data.channels=3"), "has 2 columns, expected 3"),
        (("--set", "mixing.cutmix=1"), "mixing.cutmix=1.0: must be 0 for series"),
    ],
)
def test_what_does_not_fit(root: Path, tmp_path: Path, more: tuple[str, ...], words: str) -> None:
    outcome = striate("train", root, "--out", tmp_path / "run", *more)
    assert outcome.code == 2
    assert words in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_network_for_series_refuses_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected series"):
        fit(RECIPE, "digits", tmp_path / "run")
    outcome = striate("train", "digits", "--model", "fcn-1d", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "digits: expected series" in outcome.err
    outcome = striate("doctor", write_folders(tmp_path / "series"))
    assert "has series, checked when they are opened" in outcome.err


@pytest.mark.slow
def test_the_example_holds_its_claim() -> None:
    """A minute on one core."""
    program = Path(__file__).parents[2] / "examples" / "cylinder_bell_funnel.py"
    done = subprocess.run([sys.executable, program, "--seeds", "1"], capture_output=True, text=True, check=True)
    assert "network: mean 9" in done.stdout
