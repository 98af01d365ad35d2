"""`striate doctor` as a user runs it, its list in `striate train --exclude`, and what training says by itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from commands import Outcome, striate
from messes import jpeg, photo, write_clean, write_mess
from striate.data.doctor import _examine
from striate.training import Run

QUICK = ("--set", "epochs=1", "--set", "data.size=32,32", "--threads", 1)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_clean(tmp_path / "clean")


def test_a_clean_folder(clean: Path) -> None:
    code, out, err = striate("doctor", clean)
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [f"{clean}: 60 files", "train: cat 10, dog 10"]
    assert out.splitlines()[-1] == "nothing found that would spoil a training"


def test_a_mess(tmp_path: Path) -> None:
    write_mess(tmp_path / "mess")
    html, listed = tmp_path / "out" / "mess.html", tmp_path / "list.txt"
    code, out, err = striate("doctor", tmp_path / "mess", "--html", html, "--quarantine", listed)
    assert (code, err) == (1, ""), "1: there are errors; and no warnings of libraries"
    assert "error: truncated pictures (3)\n" in out
    assert out.splitlines()[-3:] == [
        "15 errors, 18 warnings, 7 notes",
        f"report {html}",
        f"15 files to leave out in {listed}: striate train {tmp_path}/mess --exclude {listed}",
    ]
    assert "<title>Examination of" in html.read_text(encoding="utf-8")
    text = listed.read_text(encoding="utf-8")
    assert "# truncated: train/cat/cut.jpg: the picture is damaged or incomplete (image file is truncated" in text
    assert sum(not line.startswith("#") for line in text.splitlines()) == 15
    assert sorted(p.name for p in tmp_path.iterdir()) == ["list.txt", "mess", "out"], "nothing else is written"


def test_json(clean: Path) -> None:
    (clean / "test" / "dog" / "again.jpg").write_bytes((clean / "train" / "dog" / "3.jpg").read_bytes())
    code, out, _ = striate("doctor", clean, "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["files"], found["errors"], found["warnings"], found["notes"]) == (61, 1, 0, 0)
    assert found["findings"] == [
        {
            "kind": "leak",
            "severity": "error",
            "paths": ["train/dog/3.jpg", "test/dog/again.jpg"],
            "sentence": "'train/dog/3.jpg', 'test/dog/again.jpg' are the same file in train and test; what is measured "
            "on it is not true: keep it in one split only, best in the one that measures",
            "leave_out": ["train/dog/3.jpg"],
        }
    ]
    assert found["statistics"]["size"] == [96, 96]


def test_the_size_of_the_statistics(clean: Path) -> None:
    _, out, _ = striate("doctor", clean, "--size", "10,12", "--json")
    assert json.loads(out)["statistics"]["size"] == [10, 12]
    settings = next(line for line in striate("doctor", clean).out.splitlines() if line.startswith("settings: "))
    arguments = settings.removeprefix("settings: ").split()
    shown = json.loads(striate("train", clean, *arguments, "--show-recipe").out)
    assert shown["data"]["channels"] == 3
    assert len(shown["data"]["mean"]) == len(shown["data"]["std"]) == 3, "train takes the settings as they are printed"


def test_all(clean: Path) -> None:
    for k in range(5):
        (clean / "val" / "cat" / f"empty {k}.jpg").write_bytes(b"")
    assert "and 2 more (--all shows them)" in striate("doctor", clean).out
    assert "empty 4.jpg" in striate("doctor", clean, "--all").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits"], "digits is a known set, checked when it is read; name a folder of images"),
        (["nowhere"], "doctor: nowhere is not there: expected a folder of images"),
        (["{clean}", "--size", "many"], "--size must be height and width, such as 96,96, got 'many'"),
        (["{clean}", "--size", "0,4"], "size must be two positive numbers"),
        (["{clean}", "--html", "{clean}/report.html"], "where nothing is changed: write it elsewhere"),
        (["{clean}", "--quarantine", "{clean}/train/list.txt"], "where nothing is changed: write it elsewhere"),
        (["{clean}", "--run", "{clean}"], "clean"),
    ],
)
def test_bad_input(arguments: list[str], words: str, clean: Path) -> None:
    before = sorted(clean.rglob("*"))
    code, out, err = striate("doctor", *(argument.format(clean=clean) for argument in arguments))
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert sorted(clean.rglob("*")) == before


def test_an_interruption_leaves_nothing(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = _examine.read_sheet, []

    def stopped(*arguments: object) -> object:
        seen.append(arguments)
        if len(seen) == 20:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(_examine, "read_sheet", stopped)
    code, out, _ = striate("doctor", clean, "--html", tmp_path / "a.html", "--quarantine", tmp_path / "list.txt")
    assert (code, out) == (130, "")
    assert [p.name for p in tmp_path.iterdir()] == ["clean"]


def test_train_leaves_out_what_the_list_names(clean: Path, tmp_path: Path) -> None:
    (clean / "train" / "cat" / "cut.jpg").write_bytes(jpeg(photo(900))[:500])
    (clean / "test" / "dog" / "again.jpg").write_bytes((clean / "train" / "dog" / "3.jpg").read_bytes())
    code, _, err = striate("train", clean, *QUICK, "--out", tmp_path / "run")
    assert code == 2
    assert "cut.jpg" in err
    assert striate("doctor", clean, "--quarantine", tmp_path / "list.txt").code == 1
    code, _, err = striate("train", clean, *QUICK, "--out", tmp_path / "run", "--exclude", tmp_path / "list.txt")
    assert code == 0, err
    run = Run.open(tmp_path / "run")
    assert run.recipe.data.exclude == ("train/cat/cut.jpg", "train/dog/3.jpg")
    assert "2 files excluded" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "see: striate doctor" in err, "9 pictures of a class are few"
    code, out, err = striate("evaluate", tmp_path / "run", clean, "--split", "train", "--json")
    assert (code, json.loads(out)["excluded"]) == (0, 2)
    assert "left out 2 files that the training excluded" in err
    code, _, err = striate("train", "--resume", tmp_path / "run", "--exclude", tmp_path / "list.txt")
    assert code == 2
    assert "--exclude" in err


def test_train_refuses_a_list_of_something_else(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("train/cat/77.jpg\n")
    code, _, err = striate("train", clean, *QUICK, "--out", tmp_path / "run", "--exclude", tmp_path / "list.txt")
    assert code == 2
    assert "names 'train/cat/77.jpg', which is no file below it" in err
    assert not (tmp_path / "run").exists()
    assert striate("train", clean, "--exclude", tmp_path / "no.txt").code == 2


def test_train_says_what_is_suspicious(clean: Path, tmp_path: Path) -> None:
    (clean / "test" / "dog" / "again.jpg").write_bytes((clean / "train" / "dog" / "3.jpg").read_bytes())
    (clean / "train" / "cat" / "dog.jpg").write_bytes((clean / "train" / "dog" / "4.jpg").read_bytes())
    code, _, err = striate("train", clean, *QUICK, "--out", tmp_path / "run")
    assert code == 0, err
    line = f"{clean}: 1 pictures are in several splits; 1 pictures are in several classes (see: striate doctor {clean})"
    assert err.splitlines().count(line) == 1


def test_train_says_nothing_about_a_clean_set(clean: Path, tmp_path: Path) -> None:
    assert "doctor" not in striate("train", clean, *QUICK, "--out", tmp_path / "run").err


def test_likely_wrong_labels_by_a_run(trained: tuple[Path, Outcome], tmp_path: Path) -> None:
    """The digits as files, some in the wrong folder; the network of a short training names most of them first."""
    values, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(0)
    wrong = set(generator.choice(400, 16, replace=False).tolist())
    planted = set()
    for k in range(400):
        label = (labels[k] + generator.integers(1, 10)) % 10 if k in wrong else labels[k]
        place = tmp_path / "digits" / str(label) / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.rint(values[k] * (255 / 16)).astype(np.uint8).reshape(8, 8)
        Image.fromarray(pixels).save(place)
        if k in wrong:
            planted.add(f"{label}/{k}.png")
    arguments = ("doctor", tmp_path / "digits", "--run", trained[0], "--json")
    _, out, err = striate(*arguments, "--most", 16)
    assert out, err
    found = json.loads(out)
    named = [finding for finding in found["findings"] if finding["kind"] == "likely-label"]
    assert len(named) <= 16
    right = [finding["paths"][0] in planted for finding in named]
    assert sum(right) >= 13
    assert len([f for f in json.loads(striate(*arguments, "--most", 2).out)["findings"] if "likely" in f["kind"]]) == 2
    assert striate("doctor", write_clean(tmp_path / "other"), "--run", trained[0]).err.endswith(
        "knows none of the classes of " + f"{tmp_path}/other: give a run on these data\n"
    )
