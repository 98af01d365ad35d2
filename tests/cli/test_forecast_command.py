"""`striate train --forecast`, and what a training says of its forecast."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from commands import striate
from striate.training import _plan

SMALL = ("--model", "lenet5-modern", "--set", "epochs=2", "--threads", 1)
Usage = namedtuple("Usage", "total used free")


def test_a_forecast_is_one_line_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = striate("train", "digits", *SMALL, "--forecast")
    assert (code, err) == (0, "")
    assert out.startswith("forecast: ")
    assert out.count("\n") == 1
    code, out, err = striate("train", "digits", *SMALL, "--forecast", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["epochs"] == 2
    assert found["seconds"] == pytest.approx(2 * found["epoch_seconds"] + found["after_seconds"], abs=0.01)
    assert list(tmp_path.iterdir()) == []


def test_a_forecast_of_a_run_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9, 9, 0))
    code, out, err = striate("train", "digits", *SMALL, "--forecast", "--out", tmp_path / "run")
    assert code == 1
    assert out.startswith("forecast: ")
    assert "the disk has 0 MiB left; free some space" in err


def test_training_says_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plan, "TINY_STEPS", 0)
    monkeypatch.setattr(_plan, "TINY_SECONDS", 0.0)
    run = tmp_path / "run"
    code, out, err = striate("train", "digits", *SMALL, "--out", run, "--json")
    assert code == 0
    lines = err.splitlines()
    assert lines[0].startswith("forecast: ")
    assert lines[-1].startswith("forecast ")
    assert ", took " in lines[-1]
    result = json.loads(out)
    assert result["forecast"]["epochs"] == 2
    assert result["taken"]["seconds"] > 0
    code, out, err = striate("report", run)
    assert (code, out) == (0, f"{run / 'report.html'}\n")
    assert err == lines[-1] + "\n"


@pytest.mark.parametrize("others", [("--resume", "somewhere"), ("digits", "--no-forecast")])
def test_words_that_do_not_go_together(others: tuple[str, ...]) -> None:
    code, _, err = striate("train", "--forecast", *others)
    assert code == 2
    assert err == "striate: --forecast looks ahead at a new run: leave out --resume and --no-forecast\n"
