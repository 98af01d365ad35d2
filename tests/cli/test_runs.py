"""`striate runs`, `striate report`, and how `train` and `evaluate` keep track."""

import json
import shutil
from pathlib import Path

import pytest

from commands import Outcome, striate
from striate.cli._runs import _fitted

Trained = tuple[Path, Outcome]


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    """A folder with the trained run twice, one as if it had other settings and was never finished, and a broken one."""
    for name in ("one", "deep/two", "broken"):
        shutil.copytree(trained[0], tmp_path / name)
    two = tmp_path / "deep" / "two"
    (two / "evaluation.json").unlink()
    (two / "metrics.jsonl").write_text((two / "metrics.jsonl").read_text().splitlines()[0] + "\n")
    (tmp_path / "broken" / "recipe.json").write_text("{}")
    return tmp_path


def test_runs_are_listed(folder: Path) -> None:
    code, out, err = striate("runs", folder, "--sort", "name")
    assert code == 0, err
    head, two, one, broken = out.splitlines()
    assert {"run", "model", "data", "epochs", "state", "val", "test", "time"} <= set(head.split())
    assert two.split()[0] == f"{folder}/deep/two"
    assert {"convnet", "digits", "1/3", "interrupted"} <= set(two.split())
    assert {"3/3", "finished"} <= set(one.split())
    assert one.count(" %") == 2
    assert two.count(" %") == 1, "no test accuracy before the end"
    assert broken.startswith(f"{folder}/broken: ")


def test_runs_as_json(folder: Path) -> None:
    found = json.loads(striate("runs", folder, "--sort", "val", "--json").out)
    assert [Path(row["run"]).name for row in found["runs"]] == ["one", "two"]
    measured = json.loads((folder / "one" / "evaluation.json").read_text())
    assert found["runs"][0]["test"] == measured["accuracy"]
    assert found["runs"][0]["test_interval"] == measured["interval"]
    assert found["runs"][1]["test"] is None
    assert [row["run"] for row in found["damaged"]] == [f"{folder}/broken"]


def test_no_order_by_the_test_split(folder: Path) -> None:
    code, _, err = striate("runs", folder, "--sort", "test")
    assert code == 2
    assert "choose by validation, never by the test split" in err


def test_no_runs_is_no_error(tmp_path: Path) -> None:
    code, out, _ = striate("runs", tmp_path)
    assert code == 0
    assert out == f"no runs in {tmp_path}; begin with: striate train digits\n"
    code, _, err = striate("runs", tmp_path / "absent")
    assert code == 2
    assert "no such folder" in err


def test_runs_are_compared(trained: Trained, tmp_path: Path) -> None:
    code, _, err = striate("train", "digits", "--out", tmp_path / "b", "--set", "epochs=1", "--set", "batch_size=512")
    assert code == 0, err
    code, out, err = striate("runs", "--compare", trained[0], tmp_path / "b")
    assert code == 0, err
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert rows["batch_size"][1:] == ["32", "512"]
    assert rows["epochs"][-2:] == ["3/3", "1/1"]
    assert "seed" not in rows
    a, b = (json.loads((run / "evaluation.json").read_text()) for run in (trained[0], tmp_path / "b"))
    assert rows["test"][1::2] == [f"{100 * values['accuracy']:.2f}" for values in (a, b)]
    assert f"{100 * a['interval'][0]:.2f} % to {100 * a['interval'][1]:.2f} %" in out
    found = json.loads(striate("runs", "--compare", trained[0], tmp_path / "b", "--json").out)
    assert found["differences"]["batch_size"] == [32, 512]


def test_a_comparison_needs_two_runs(trained: Trained, tmp_path: Path) -> None:
    assert striate("runs", "--compare", trained[0]).code == 2
    code, _, err = striate("runs", "--compare", trained[0], tmp_path)
    assert code == 2
    assert "not a run" in err
    assert "all settings are the same" in striate("runs", "--compare", trained[0], trained[0]).out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    row = {
        "run": "experiments/2026/spring/flowers-convnet-20260131-101500",
        "recipe": "digits-convnet",
        "model": "inception-resnet-v2",
        "data": "fashion-mnist",
        "epochs": "100/200",
        "state": "interrupted",
        "val": "98.25 %",
        "test": "98.19 % (2 uses)",
        "time": "2 h 10 min",
        "when": "2026-11-23 13:03",
    }
    lines = _fitted([row, {**row, "run": "汇聚/a"}], width)
    assert max(len(line) for line in lines) <= width
    assert all(word in lines[1] for word in ("interrupted", "98.19 % (2 uses)", "20260131-101500"))


def test_evaluate_notes_each_use_of_the_test_split(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    training, *_ = (run / "tests.jsonl").read_text().splitlines(keepends=True)
    (run / "tests.jsonl").write_text(training)  # other tests may have judged the run that all of them share
    assert striate("evaluate", run, "digits", "--split", "val").code == 0
    assert len((run / "tests.jsonl").read_text().splitlines()) == 1, "the validation split is there to be looked at"
    assert striate("evaluate", run / "model.striate", "digits").code == 0
    last = json.loads((run / "tests.jsonl").read_text().splitlines()[-1])
    assert (last["command"], last["own"], last["total"]) == ("evaluate", True, 300)
    assert "(2 uses)" in striate("runs", run).out
    code, out, _ = striate("report", run)
    assert (code, out) == (0, f"{run}/report.html\n")
    assert "A test split was used 2 times." in (run / "report.html").read_text()


def test_other_data_is_not_the_runs_own(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    values = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**values, "test_fingerprint": "0" * 64}))
    assert striate("evaluate", run, "digits").code == 0
    assert json.loads((run / "tests.jsonl").read_text().splitlines()[-1])["own"] is False


def test_a_use_that_cannot_be_noted_is_said(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    (run / "tests.jsonl").unlink()
    (run / "tests.jsonl").mkdir()
    code, out, err = striate("evaluate", run, "digits")
    assert code == 0
    assert out.startswith("accuracy")
    assert "this use of the test split is not noted in the run: " in err


def test_report_elsewhere(trained: Trained, tmp_path: Path) -> None:
    code, out, err = striate("report", trained[0], "--out", tmp_path / "r.html", "--data", "nowhere")
    assert (code, out) == (0, f"{tmp_path}/r.html\n")
    assert "the pictures are not shown" in err
    assert striate("report", tmp_path).code == 2


def test_train_with_tensorboard_and_without_error_terms(tmp_path: Path) -> None:
    quick = ("--set", "epochs=1", "--set", "batch_size=512", "--threads", 1)
    code, _, err = striate("train", "digits", "--out", tmp_path / "a", "--tensorboard", "--no-error-terms", *quick)
    assert code == 0, err
    assert len(list((tmp_path / "a" / "tensorboard").iterdir())) == 1
    assert not (tmp_path / "a" / "error_terms.jsonl").exists()
