"""The commands, run as a user runs them."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import striate.cli._app as app
from commands import Outcome, striate
from striate.training import _checkpoint as checkpoint


def test_train_tells_accuracy_and_places_last(trained: tuple[Path, Outcome]) -> None:
    run, (code, out, err) = trained
    assert code == 0, err
    last = out.strip().splitlines()[-1]
    found = re.fullmatch(
        r"test accuracy (\d+\.\d+) % \((\d+) of 300, 95 % interval [\d.]+ to [\d.]+ %\); "
        rf"run {run}, report {run}/report\.html, bundle {run}/model\.striate",
        last,
    )
    assert found, last
    assert float(found[1]) > 90, "three epochs of this network learn most digits"
    assert sorted(p.name for p in run.iterdir()) == [
        "checkpoints",
        "environment.json",
        "error_terms.jsonl",
        "evaluation.json",
        "metrics.jsonl",
        "model.striate",
        "recipe.json",
        "report.html",
        "run.json",
        "tests.jsonl",
    ]


def test_progress_without_a_terminal_is_plain_lines(trained: tuple[Path, Outcome]) -> None:
    lines = [line for line in trained[1].err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    assert all(re.search(r"train loss [\d.]+ acc .* val loss [\d.]+ acc +[\d.]+ %.* img/s$", line) for line in lines)
    assert "\x1b" not in trained[1].err


def test_train_json(tmp_path: Path) -> None:
    code, out, err = striate(
        "train", "digits", "--out", tmp_path / "run", "--set", "epochs=1", "--set", "batch_size=512", "--json"
    )
    assert code == 0, err
    result = json.loads(out)
    assert result["total"] == 300
    assert Path(result["bundle"]).is_file()


def test_show_recipe_prints_what_would_be_trained(tmp_path: Path) -> None:
    code, out, _ = striate(
        "train", "mnist", "--model", "lenet5", "--seed", 7, "--set", "optimizer.lr=0.5", "--show-recipe"
    )
    recipe = json.loads(out)
    assert code == 0
    assert (recipe["name"], recipe["seed"], recipe["optimizer"]["lr"]) == ("lenet5", 7, 0.5)


def test_a_finished_run_can_be_resumed_and_says_the_same(trained: tuple[Path, Outcome]) -> None:
    run, first = trained
    weights = (run / "checkpoints" / "best.safetensors").read_bytes()
    code, out, _ = striate("train", "--resume", run)
    assert code == 0
    assert out.strip().splitlines()[-1] == first.out.strip().splitlines()[-1]
    assert (run / "checkpoints" / "best.safetensors").read_bytes() == weights


def test_evaluate_a_run_equals_what_training_said(trained: tuple[Path, Outcome]) -> None:
    run = trained[0]
    code, out, err = striate("evaluate", run, "digits", "--json", "--batch-size", 32)  # as in training: equal rounding
    assert code == 0, err
    recorded = json.loads((run / "evaluation.json").read_text())
    assert {k: v for k, v in json.loads(out).items() if k not in {"unreadable", "excluded"}} == {
        k: v for k, v in recorded.items() if k != "best_epoch"
    }


def test_evaluate_writes_a_report(bundle: Path, tmp_path: Path) -> None:
    code, out, err = striate("evaluate", bundle, "digits", "--split", "val", "--report", tmp_path / "r.html")
    assert code == 0, err
    assert out.startswith("accuracy ")
    assert "digits" in (tmp_path / "r.html").read_text()


def test_verify(bundle: Path) -> None:
    code, out, _ = striate("verify", bundle)
    assert code == 0
    assert "verified" in out
    code, out, _ = striate("verify", bundle, "--json")
    assert json.loads(out)["passed"] is True


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twenty digits as PNG files, a broken one and a text file."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    digits = load_digits()
    for k in range(20):
        Image.fromarray((digits.images[k] * 255 / 16).round().astype(np.uint8)).save(folder / f"{k:02}.png")
    whole = (folder / "00.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_predict_table(bundle: Path, pictures: Path) -> None:
    code, out, err = striate("predict", bundle, pictures / "00.png", pictures / "01.png")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == [str(pictures / "00.png"), str(pictures / "01.png")]
    assert re.search(r"00\.png  \d [\d.]+ %  \(\d [\d.]+ %, \d [\d.]+ %\)", out)
    assert err == ""


def test_predict_goes_on_after_a_broken_picture(bundle: Path, pictures: Path) -> None:
    code, out, err = striate("predict", bundle, pictures, "--json", "--top", 2)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert len(found) == 21
    assert [Path(p["path"]).name for p in found if p["error"]] == ["broken.png"]
    good = [p for p in found if not p["error"]]
    assert all(len(p["top"]) == 2 and p["top"][0]["probability"] == p["probability"] > 0 for p in good)
    code, out, err = striate("predict", bundle, pictures)
    assert code == 1
    assert "broken.png" in err
    assert "1 of the pictures could not be read" in err
    assert len(out.splitlines()) == 20


def test_predict_learned_something(bundle: Path, pictures: Path) -> None:
    code, out, _ = striate("predict", bundle, f"{pictures}/[01]?.png", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    right = sum(row["label"] == str(load_digits().target[k]) for k, row in enumerate(rows))
    assert code == 0
    assert len(rows) == 20
    assert right >= 16, "chance would be 2"


def test_predict_list_on_standard_input(bundle: Path, pictures: Path) -> None:
    listed = f"{pictures / '03.png'}\n\n{pictures / '04.png'}\n"
    code, out, _ = striate("predict", bundle, "-", "--csv", stdin=listed)
    assert code == 0
    assert [row["path"] for row in csv.DictReader(io.StringIO(out))] == [
        str(pictures / "03.png"),
        str(pictures / "04.png"),
    ]
    code, _, err = striate("predict", bundle, "-", stdin="\n")
    assert (code, err) == (2, "striate: predict: the list on standard input is empty; expected one path per line\n")


def test_models_and_datasets() -> None:
    code, out, _ = striate("models")
    assert code == 0
    assert "lenet5" in out
    assert "departures: none" in out
    assert {card["name"] for card in json.loads(striate("models", "--json").out)} >= {"lenet5", "convnet"}
    code, out, _ = striate("datasets")
    assert code == 0
    assert "fashion-mnist" in out
    assert "cifar10" in {known["name"] for known in json.loads(striate("datasets", "--json").out)}


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["verify"], ["models"], ["datasets"]])
def test_help_has_examples(command: list[str]) -> None:
    code, out, _ = striate(*command, "--help")
    assert code == 0
    assert "striate " + " ".join(command) in out
    if command:
        assert "Example" in out


def test_an_unexpected_error_is_one_sentence_without_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("striate.models.names", broken)
    code, _, err = striate("models")
    assert code == 1
    assert err.startswith(
        "striate: an unexpected error, ZeroDivisionError: division by zero; this is a fault in Striate"
    )
    assert "Traceback" in striate("--debug", "models").err
    assert app.FAILED == 1


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "striate", *map(str, arguments)]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_real_kill_and_a_real_interrupt_end_in_the_same_weights(tmp_path: Path) -> None:
    """`kill -9` in the middle, resume, Ctrl-C in the middle, resume: the bits of an undisturbed run."""
    asked = ("train", "digits", "--threads", 1, "--set", "epochs=8", "--set", "batch_size=32", "--checkpoint-every", 0)
    subprocess.run(command(*asked, "--out", tmp_path / "whole"), check=True, capture_output=True)
    run = tmp_path / "run"
    process = subprocess.Popen(command(*asked, "--out", run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for_checkpoint(run, 20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = subprocess.Popen(
        command("train", "--resume", run, "--checkpoint-every", 0), stderr=subprocess.PIPE, text=True
    )
    wait_for_checkpoint(run, 120)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].endswith(f"continue with: striate train --resume {run}")
    done = subprocess.run(command("train", "--resume", run), check=True, capture_output=True, text=True)
    assert "continuing at epoch" in done.stderr
    for name in ("best.safetensors", f"step-{8 * 43:010d}.safetensors"):
        ours, whole = (checkpoint.read(folder / "checkpoints" / name).tensors for folder in (run, tmp_path / "whole"))
        assert ours.keys() == whole.keys()
        assert all(torch.equal(ours[key], whole[key]) for key in whole)


def wait_for_checkpoint(run: Path, step: int) -> None:
    for _ in range(30_000):  # at once on a machine of its own
        if any(int(p.stem.removeprefix("step-")) >= step for p in (run / "checkpoints").glob("step-*")):
            return
        time.sleep(0.01)
    raise AssertionError("no checkpoint came")


def test_help_imports_nothing_heavy() -> None:
    """`striate --help` answers at once because torch, NumPy, Pillow and the like are imported by commands only."""
    heavy = {"torch", "numpy", "sklearn", "PIL", "matplotlib", "safetensors", "jinja2"}
    program = f"""
import sys
from striate.cli import main
sys.argv = ["striate", "--help"]
try:
    main()
except SystemExit:
    print(sorted({heavy} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_is_installed() -> None:
    done = subprocess.run(
        [shutil.which("striate", path=Path(sys.executable).parent), "--version"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert re.fullmatch(r"striate \d+\.\d+\.\d+\n", done.stdout)
