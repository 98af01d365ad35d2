"""Segmentation from the command line: train, evaluate, predict, verify, runs, report; each planted fault is named."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import striate
from pictures import write_photos, write_scenes

SMALL = ("data.size=32,40", "data.crop_to=25,33", "epochs=1", "batch_size=4")
DEEPLAB = ("--model", "deeplab-v1", "--set", "model.options.width=0.06")


def settings() -> list[str]:
    return [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scenes/ and run/, a finished training on it."""
    root = tmp_path_factory.mktemp("segmentation")
    write_scenes(root / "scenes", count=12, size=(37, 50))
    (root / "scenes" / "labels.txt").write_text("noise\nsquare\ndisc\n")
    done = striate("train", root / "scenes", *DEEPLAB, *settings(), "--out", root / "run", "--threads", "1")
    assert done.code == 0, done.err
    assert f"{root / 'scenes'}: pictures with masks, so the task is segmentation" in done.err
    assert "mIoU" in done.err
    last = done.out.strip().splitlines()[-1]
    assert last.startswith("test mean IoU ")
    assert str(root / "run" / "model.striate") in last
    assert "IoU  precision" in done.out
    return root


def test_the_bundle_verifies(place: Path) -> None:
    done = striate("verify", place / "run" / "model.striate")
    assert done.code == 0, done.out


def test_evaluation_is_that_of_the_training(place: Path) -> None:
    done = striate("evaluate", place / "run", place / "scenes", "--json")
    assert done.code == 0, done.err
    measured, written = json.loads(done.out), json.loads((place / "run" / "evaluation.json").read_text())
    for key in ("confusion", "mean_iou", "accuracy", "per_class", "pictures"):
        assert measured[key] == written[key]
    assert "mean IoU" in striate("evaluate", place / "run", place / "scenes", "--split", "val").out
    lines = (place / "run" / "tests.jsonl").read_text().splitlines()
    assert [json.loads(line)["command"] for line in lines] == ["train", "evaluate"], "val is no use of the test split"


def test_evaluation_writes_a_report(place: Path, tmp_path: Path) -> None:
    done = striate("evaluate", place / "run", place / "scenes", "--split", "val", "--report", tmp_path / "r.html")
    assert done.code == 0, done.err
    assert "Worst pictures" in (tmp_path / "r.html").read_text()


def test_masks_are_written_with_palette_at_the_pictures_size(place: Path, tmp_path: Path) -> None:
    Image.new("RGB", (61, 22), (60, 120, 220)).save(tmp_path / "wide.jpg")
    out = tmp_path / "masks"
    done = striate("predict", place / "run", place / "scenes" / "images", tmp_path / "wide.jpg", "--out", out)
    assert done.code == 0, done.err
    assert len(list(out.iterdir())) == 13
    assert f"-> {out / 'wide.png'}" in done.out
    for name, size in (("0.png", (50, 37)), ("wide.png", (61, 22))):
        with Image.open(out / name) as mask:
            assert (mask.mode, mask.size) == ("P", size)
            assert set(np.unique(np.asarray(mask))) <= {0, 1, 2}


def test_shares_for_programs_are_those_of_the_masks(place: Path, tmp_path: Path) -> None:
    pictures = place / "scenes" / "images"
    done = striate("predict", place / "run", pictures, "--json", "--out", tmp_path / "m", "--overlays")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == 12
    for row in rows:
        mask = np.asarray(Image.open(row["mask"]))
        assert row["size"] == list(mask.shape) == [37, 50]
        assert row["shares"] == {name: (mask == k).mean() for k, name in enumerate(("noise", "square", "disc"))}
        with Image.open(Path(row["mask"]).with_name(f"{Path(row['path']).stem}-overlay.png")) as drawn:
            assert (drawn.mode, drawn.size) == ("RGB", (50, 37))
    table = list(csv.DictReader(io.StringIO(striate("predict", place / "run", pictures, "--csv").out)))
    assert [float(row["disc"]) for row in table] == pytest.approx([row["shares"]["disc"] for row in rows], abs=1e-6)
    assert {row["mask"] for row in table} == {""}, "nothing is written unless asked for"


def test_a_picture_that_cannot_be_read_stops_no_other(place: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no")
    shutil.copy(place / "scenes" / "images" / "0.png", tmp_path / "good.png")
    done = striate("predict", place / "run", tmp_path, "--out", tmp_path / "masks", "--crf")
    assert done.code == 1
    assert "bad.png: not a JPEG, PNG" in done.err
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["good.png"]


def test_what_would_be_overwritten_is_refused_before_anything(place: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(place / "scenes" / "images" / "0.png", tmp_path / folder / "0.png")
    done = striate("predict", place / "run", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "masks")
    assert (done.code, (tmp_path / "masks").exists()) == (2, False)
    assert "would both become 0.png; predict them one folder at a time" in done.err
    before = (tmp_path / "a" / "0.png").read_bytes()
    done = striate("predict", place / "run", tmp_path / "a", "--out", tmp_path / "a")
    assert (done.code, (tmp_path / "a" / "0.png").read_bytes()) == (2, before)
    assert "would overwrite" in done.err
    done = striate("predict", place / "run", tmp_path / "a", "--overlays")
    assert (done.code, "--overlays needs --out" in done.err) == (2, True)
    (tmp_path / "file").write_text("")
    done = striate("predict", place / "run", tmp_path / "a", "--out", tmp_path / "file")
    assert done.code == 1
    assert str(tmp_path / "file") in done.err
    assert "Traceback" not in done.err


def test_runs_and_report(place: Path, tmp_path: Path) -> None:
    listed = json.loads(striate("runs", place, "--json").out)["runs"]
    assert listed[0]["test"] == json.loads((place / "run" / "evaluation.json").read_text())["mean_iou"]
    assert listed[0]["test_interval"] is None
    assert striate("runs", place).code == 0
    assert striate("runs", "--compare", place / "run", place / "run").code == 0
    done = striate("report", place / "run", "--out", tmp_path / "page.html")
    assert done.code == 0, done.err
    assert "Mean IoU" in (tmp_path / "page.html").read_text()


def test_the_networks_tell_their_task() -> None:
    rows = {row["name"]: row["task"] for row in json.loads(striate("models", "--json").out)}
    assert (rows["fcn-8s"], rows["lenet5"]) == ("segmentation", "classification")
    assert "for segmentation" in striate("models", "fcn-8s").out


def test_the_recipe_is_shown_for_the_folder(place: Path) -> None:
    shown = json.loads(striate("train", place / "scenes", "--show-recipe").out)
    assert (shown["name"], shown["data"]["task"]) == ("scenes", "segmentation")
    shown = json.loads(striate("train", place / "scenes", "--model", "fcn-8s", "--show-recipe").out)
    assert (shown["name"], shown["optimizer"]["lr"]) == ("fcn-8s", 1e-6)


def spoil(name: str, labels: Any) -> Callable[[Path], Any]:
    return lambda root: Image.fromarray(np.asarray(labels, np.uint8)).save(root / "masks" / name)


UNKNOWN = np.zeros((37, 50))
UNKNOWN[4, 4] = 9
PLANTED: list[tuple[Callable[[Path], Any], str]] = [
    (spoil("0.png", UNKNOWN), "masks/0.png: the mask has the label 9 (1 pixels), which is none of the 3 classes"),
    (spoil("1.png", np.zeros((37, 51))), "masks/1.png: the mask is 51 x 37 pixels, its picture 1.png 50 x 37"),
    (lambda root: (root / "masks" / "2.png").unlink(), "images/2.png: it has no mask, expected masks/2.png: add it"),
    (lambda root: (root / "masks" / "3.png").write_bytes(b"no"), "masks/3.png: not a PNG, BMP, TIFF or PPM mask"),
]


@pytest.mark.parametrize(("plant", "sentence"), PLANTED)
def test_a_planted_fault_is_named_in_one_sentence(
    place: Path, tmp_path: Path, plant: Callable[[Path], Any], sentence: str
) -> None:
    shutil.copytree(place / "scenes", tmp_path / "scenes")
    plant(tmp_path / "scenes")
    done = striate("train", tmp_path / "scenes", *DEEPLAB, *settings(), "--out", tmp_path / "run")
    assert (done.code, (tmp_path / "run").exists()) == (2, False)
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 2, "the task, and one sentence"


def test_a_mask_without_a_picture_is_left_out(place: Path, tmp_path: Path) -> None:
    """It teaches nothing; the picture may have been thrown away on purpose."""
    shutil.copytree(place / "scenes", tmp_path / "scenes")
    (tmp_path / "scenes" / "images" / "4.png").unlink()
    done = striate("train", tmp_path / "scenes", *DEEPLAB, *settings(), "--out", tmp_path / "run", "--no-error-terms")
    assert done.code == 0, done.err
    assert sum(json.loads((tmp_path / "run" / "run.json").read_text())["splits"].values()) == 11


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("photos", "--task", "segmentation"),
            "found 'dark', 'light'; a folder of pictures for each class is for --task",
        ),
        (("photos", "--model", "fcn-8s"), "found 'dark', 'light'; a folder of pictures for each class is for --task"),
        (
            ("scenes", "--task", "classification"),
            "open it with the option data.task=segmentation (--task segmentation)",
        ),
        (("scenes", "--recipe", "photos"), "open it with the option data.task=segmentation (--task segmentation)"),
        (("scenes", "--model", "vgg-a"), "vgg-a is a network for classification and the data are pictures with masks"),
        (("scenes", "--task", "segmentatoin"), "data.task=segmentatoin: expected one of classification, segmentation"),
        (
            ("scenes", "--task", "classification", "--model", "fcn-8s"),
            "fcn-8s is a network for segmentation and the data",
        ),
        (("digits", "--task", "segmentation"), "digits has a label per picture and no masks"),
        (("scenes", "--model", "fcn8s"), "did you mean 'fcn-8s'"),
        (("scenes", "--set", "loss.name=rbf_mse"), "masks are learned with loss.name=cross_entropy"),
        (("scenes", "--set", "data.fit=crop"), "'crop' loses pixels to be judged"),
    ],
)
def test_task_data_and_network_that_do_not_fit(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    if not (place / "photos").exists():
        write_photos(place / "photos")
    monkeypatch.chdir(place)
    done = striate("train", *arguments, "--out", tmp_path / "run")
    assert (done.code, (tmp_path / "run").exists()) == (2, False), done.err
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_data_of_another_kind_cannot_be_evaluated(place: Path) -> None:
    if not (place / "photos").exists():
        write_photos(place / "photos")
    done = striate("evaluate", place / "run", place / "photos")
    assert (done.code, "is for --task classification" in done.err) == (2, True)
    done = striate("evaluate", place / "run", "digits")
    assert (done.code, "digits has a label per picture and no masks" in done.err) == (2, True)
