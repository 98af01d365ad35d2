"""Beginning with weights from elsewhere: what is taken, what is left, what is recorded, and that it survives kills."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from commands import striate
from pictures import write_photos
from striate.bundle import initial_weights, load
from striate.data import open_data
from striate.errors import InputError, StriateError
from striate.models import build
from striate.models.fcn import from_vgg, next_stage
from striate.training import Interrupted, Listener, ModelOptions, Recipe, Run, fit, named_recipe, resume
from striate.training import _checkpoint as checkpoint
from striate.training._initial import InitialWeights
from striate.training._loop import fresh_model

NET: dict[str, Any] = {"blocks": [[1, 4, 2]], "norm": "batch"}
RECIPE: Recipe = (
    named_recipe("digits-convnet")
    .replace(model=ModelOptions("convnet", NET))
    .set(["data.channels=3", "data.size=12,16", "data.border=0", "batch_size=8", "epochs=2", "ema=0.9"])
)
TRUNK = {name for name in build("convnet", **NET).state_dict() if not name.startswith("head")}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ with two classes; a finished run on them, runs/two, and its bundle."""
    room = tmp_path_factory.mktemp("room")
    write_photos(room / "photos", per_class=12)
    shutil.copytree(room / "photos", room / "three")
    shutil.copytree(room / "photos" / "dark", room / "three" / "middle")
    (room / "recipe.json").write_text(json.dumps(RECIPE.to_json()))
    done = striate(
        *("train", room / "photos", "--recipe", "digits-convnet", "--out", room / "two", "--threads", 1),
        *("--set", "model.options.blocks=[[1,4,2]]", "--set", "data.channels=3", "--set", "data.size=12,16"),
        *("--set", "data.border=0", "--set", "epochs=1", "--set", "batch_size=8"),
    )
    assert done.code == 0, done.err
    return room


class Notes(Listener):
    def __init__(self) -> None:
        self.text = ""

    def note(self, text: str) -> None:
        self.text += text + "\n"


def first(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "checkpoints" / "step-0000000000.safetensors").part("model")


class Killed(Exception):
    """Not one of ours: what the process was doing ends here."""


class Kill(Listener):
    """Ends the training before its first step, as kill -9 would."""

    def begin(self, *_: Any) -> None:
        raise Killed


def other(classes: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return build("convnet", classes=classes, channels=3, size=(12, 16), **NET).state_dict()


@pytest.mark.parametrize("kind", ["pt", "safetensors", "run", "bundle"])
@pytest.mark.parametrize("data", ["photos", "three"])
def test_weights_are_taken_but_for_a_last_layer_of_other_classes(
    room: Path, tmp_path: Path, kind: str, data: str
) -> None:
    path, file = {
        "pt": (tmp_path / "other.pt", None),
        "safetensors": (tmp_path / "other.safetensors", None),
        "run": (room / "two", room / "two" / "checkpoints" / "best.safetensors"),
        "bundle": (room / "two" / "model.striate", None),
    }[kind]
    torch.save(other(), tmp_path / "other.pt")
    save_file(other(), tmp_path / "other.safetensors")
    expected = other() if kind in {"pt", "safetensors"} else checkpoint.read(Run.open(room / "two").best).tensors
    notes = Notes()
    with pytest.raises(Interrupted):
        fit(
            RECIPE,
            str(room / data),
            tmp_path / "run",
            threads=1,
            listener=notes,
            stop=lambda: True,
            weights=initial_weights(path),
        )
    begun = first(tmp_path / "run")
    random = first_of(RECIPE, room / data)
    taken = set(begun) if data == "photos" else TRUNK
    for name, value in begun.items():
        assert torch.equal(value, expected[name] if name in taken else random[name]), name
    kept = "head.classifier.weight, head.classifier.bias"
    assert (f"kept as they were: {kept}" in notes.text) == (data == "three")
    record = Run.open(tmp_path / "run").initial
    assert record is not None
    assert record["source"] == str(path)
    assert record["sha256"] == hashlib.sha256((file or path).read_bytes()).hexdigest()
    assert record["kept"] == ([] if data == "photos" else kept.split(", "))


def first_of(recipe: Recipe, data: Path) -> dict[str, torch.Tensor]:
    """The network as it is initialised at random."""
    return fresh_model(recipe, open_data(str(data), recipe.data, seed=0)).state_dict()


def end(folder: Path) -> dict[str, torch.Tensor]:
    saved = checkpoint.latest(folder / "checkpoints")
    assert saved is not None
    return saved.tensors


def test_a_run_that_is_killed_before_its_first_step_still_has_its_weights(room: Path, tmp_path: Path) -> None:
    torch.save(other(), tmp_path / "other.pt")
    weights = InitialWeights.of_file(tmp_path / "other.pt")
    whole = fit(RECIPE, str(room / "photos"), tmp_path / "whole", threads=1, weights=weights)
    with pytest.raises(Killed):
        fit(RECIPE, str(room / "photos"), tmp_path / "run", threads=1, weights=weights, listener=Kill())
    (tmp_path / "other.pt").unlink()
    resume(tmp_path / "run")
    ends = end(whole.run.folder), end(tmp_path / "run")
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    random = fit(RECIPE, str(room / "photos"), tmp_path / "random", threads=1)
    assert not all(torch.equal(ends[0][name], end(random.run.folder)[name]) for name in ends[0])


def test_a_start_that_was_killed_leaves_no_weights_to_another(room: Path, tmp_path: Path) -> None:
    """The checkpoint is written before run.json: a second start in the folder must not go on from it."""
    torch.save(other(), tmp_path / "other.pt")
    with pytest.raises(Killed):
        fit(
            RECIPE,
            str(room / "photos"),
            tmp_path / "run",
            threads=1,
            weights=initial_weights(tmp_path / "other.pt"),
            listener=Kill(),
        )
    (tmp_path / "run" / "run.json").unlink()
    for path in (tmp_path / "run").glob("*.jsonl"):
        path.unlink()
    assert first(tmp_path / "run")
    fit(RECIPE, str(room / "photos"), tmp_path / "run", threads=1)
    fit(RECIPE, str(room / "photos"), tmp_path / "plain", threads=1)
    assert all(torch.equal(value, end(tmp_path / "plain")[name]) for name, value in end(tmp_path / "run").items())


def test_a_run_without_the_weights_it_began_with_is_not_begun_anew_at_random(room: Path, tmp_path: Path) -> None:
    torch.save(other(), tmp_path / "other.pt")
    weights = initial_weights(tmp_path / "other.pt")
    with pytest.raises(Killed):
        fit(RECIPE, str(room / "photos"), tmp_path / "run", threads=1, weights=weights, listener=Kill())
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(StriateError, match=r"the checkpoint with the weights that this run began with is missing"):
        resume(tmp_path / "run")


def test_going_on_from_a_run_on_the_command_line(room: Path, tmp_path: Path) -> None:
    """The network and the preprocessing are the run's; the frozen layers are its to the bit."""
    done = striate(
        *("train", room / "three", "--weights", room / "two", "--freeze", "-1", "--out", tmp_path / "run"),
        *("--set", "epochs=1", "--set", "batch_size=8", "--set", "ema=0", "--threads", 1),
    )
    assert done.code == 0, done.err
    assert "kept as they were: head.classifier.weight, head.classifier.bias" in done.err
    assert re.search(r"^blocks +116  frozen$", done.err, re.MULTILINE)
    run = Run.open(tmp_path / "run")
    assert run.recipe.model.options["blocks"] == [[1, 4, 2]]
    assert run.recipe.data.size == (12, 16)
    before, after = checkpoint.read(Run.open(room / "two").best).tensors, checkpoint.read(run.best).tensors
    assert all(torch.equal(before[name], after[name]) for name in TRUNK)
    assert [row["trained"] for row in run.derived["layers"]] == [0, after["head.classifier.weight"].numel() + 3]
    assert run.initial is not None
    assert (
        f"two, SHA-256 {run.initial['sha256'][:12]}...; 2 tensors of the network are not in it"
        in run.report.read_text()
    )
    assert load(run.bundle).provenance["began_with"] == {"name": "two", "sha256": run.initial["sha256"]}
    again = striate("train", "--resume", tmp_path / "run", "--weights", room / "two")
    assert (again.code, "--weights" in again.err) == (2, True)
    again = striate("train", "--resume", tmp_path / "run", "--freeze", "1")
    assert (again.code, "freeze: '-1' -> '1'" in again.err) == (2, True)


def test_other_preprocessing_and_other_names_of_classes_are_told(room: Path, tmp_path: Path) -> None:
    shutil.copytree(room / "photos", tmp_path / "animals")
    (tmp_path / "animals" / "dark").rename(tmp_path / "animals" / "cat")
    notes = Notes()
    recipe = RECIPE.set(["data.mean=0.25"])
    with pytest.raises(Interrupted):
        fit(
            recipe,
            str(tmp_path / "animals"),
            tmp_path / "run",
            threads=1,
            listener=notes,
            stop=lambda: True,
            weights=initial_weights(room / "two"),
        )
    there = Run.open(room / "two").recipe.data.mean
    assert f"was trained on data prepared otherwise: mean {there} there, (0.25,) here" in notes.text
    assert "has as many classes with other names; its last layer is where this one begins" in notes.text


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "absent.pt",
            None,
            r"no such file or folder; give the folder of a run, a bundle \(.striate\) or a file of weights",
        ),
        ("empty.pt", b"", "the file is empty"),
        ("text.pt", b"no weights at all", "not a file of weights"),
        ("cut.striate", "bundle", "damaged"),
        ("folder", "folder", r"not a run \(it has no run.json\)"),
    ],
)
def test_what_is_no_weights_is_refused(room: Path, tmp_path: Path, name: str, content: Any, sentence: str) -> None:
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content == "bundle":
        path.write_bytes((room / "two" / "model.striate").read_bytes()[:-900])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        initial_weights(path)


def test_weights_of_another_network_are_refused_before_anything_is_written(room: Path, tmp_path: Path) -> None:
    torch.save(build("lenet5-modern").state_dict(), tmp_path / "lenet.pt")
    with pytest.raises(InputError, match=r"lenet\.pt: does not fit the model"):
        fit(RECIPE, str(room / "photos"), tmp_path / "run", weights=initial_weights(tmp_path / "lenet.pt"))
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_finished_epoch_has_no_weights(room: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(RECIPE, str(room / "photos"), tmp_path / "run", threads=1, stop=lambda: True)
    with pytest.raises(InputError, match="this run has finished no epoch yet; it has no weights to begin from"):
        initial_weights(tmp_path / "run")


@pytest.mark.parametrize(("coarse", "fine"), [("fcn-32s", "fcn-16s"), ("fcn-16s", "fcn-8s")])
def test_fcn_is_trained_in_stages(coarse: str, fine: str) -> None:
    """The finer network takes every layer of the coarser one; its new scores begin at 0, its doubling as bilinear."""
    small = {"classes": 4, "channels": 3, "width": 1 / 16, "size": (32, 40)}
    torch.manual_seed(0)
    trained = build(coarse, **small).eval()
    with torch.no_grad():
        for p in trained.parameters():
            p.add_(0.02 * torch.randn_like(p))
    model = build(fine, **small).eval()
    report = InitialWeights.of_tensors("trained", trained.state_dict()).give(model)
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in trained.state_dict().items())
    assert set(report.kept) == own.keys() - trained.state_dict().keys()
    new = [name for name in report.kept if name.startswith("score")]
    assert new
    assert all(not own[name].any() for name in new)
    x = torch.randn(1, 3, 32, 40)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), next_stage(trained)(x))  # type: ignore[arg-type]


def narrow_vgg(classes: int) -> nn.Sequential:
    """VGG-16 with a sixteenth of the maps, for 224 x 224, as other libraries write it."""
    layers: list[nn.Module] = []
    maps = 3
    for convolutions, wanted in ((2, 4), (2, 8), (3, 16), (3, 32), (3, 32)):
        for _ in range(convolutions):
            layers += [nn.Conv2d(maps, wanted, 3, padding=1), nn.ReLU()]
            maps = wanted
        layers.append(nn.MaxPool2d(2))
    hidden = [nn.Linear(32 * 49, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, classes)]
    return nn.Sequential(*layers, nn.Flatten(), *hidden)


def test_fcn_begins_with_a_vgg_of_other_classes(tmp_path: Path) -> None:
    """Its dense layers become convolutions, its classifier is left out: section 4.1 of the paper."""
    torch.manual_seed(0)
    vgg = narrow_vgg(classes=7)
    torch.save(vgg.state_dict(), tmp_path / "vgg.pt")
    model = build("fcn-32s", classes=4, channels=3, width=1 / 16, size=(32, 40))
    report = InitialWeights.of_file(tmp_path / "vgg.pt").give(model)
    assert set(report.kept) == {"score_fr.weight", "score_fr.bias"}
    expected = from_vgg(vgg, classes=4, size=(32, 40)).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name
