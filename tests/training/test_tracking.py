"""What a run keeps of itself: error terms, uses of the test split, its state, TensorBoard files, its report."""

import json
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from striate.data import Augmentation
from striate.errors import InputError, StriateError
from striate.training import (
    Diverged,
    Interrupted,
    Listener,
    Listeners,
    ModelOptions,
    OptimizerOptions,
    Overview,
    Run,
    TensorBoard,
    find_runs,
    fit,
    named_recipe,
    report,
    resume,
    settings_that_differ,
    uses,
)
from striate.training import _checkpoint as checkpoint

# batch normalisation and dropout: what a look at the network could disturb
RECIPE = named_recipe("digits-convnet").replace(
    model=ModelOptions("convnet", {"blocks": [[2, 4, 2]], "dropout": 0.5, "norm": "batch", "pool": "flatten"}),
    optimizer=OptimizerOptions("sgd", lr=0.05),
    epochs=2,
    batch_size=256,
    ema=0.0,
)
DIVERGING = RECIPE.set(["optimizer.lr=1e20", "model.options.norm=none"])


def stop_at(step: int) -> Any:
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= step


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracking") / "run"
    torch.manual_seed(4711)
    fit(RECIPE, "digits", folder, threads=1, listener=TensorBoard())
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    saved = checkpoint.latest(folder / "checkpoints")
    assert saved is not None
    return saved.tensors


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_is_the_same_with_and_without_error_terms(tmp_path: Path, finished: Path) -> None:
    fit(RECIPE, "digits", tmp_path / "run", threads=1, error_terms=False)
    assert not (tmp_path / "run" / "error_terms.jsonl").exists()
    ours, theirs = last_weights(tmp_path / "run"), last_weights(finished)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_line_of_error_terms_for_each_epoch_and_the_beginning(finished: Path) -> None:
    rows = lines(finished / "error_terms.jsonl")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[0]["layers"] == ["blocks.block1.conv1", "blocks.block1.conv2", "head.classifier"]
    assert all(len(row[key]) == 3 for row in rows for key in ("error", "gradient", "dead"))
    assert all(value > 0 for row in rows for value in row["error"])
    assert rows[0]["error"] != rows[1]["error"]


@pytest.mark.parametrize("steps", [3, 7])
def test_a_resumed_run_has_the_same_lines(tmp_path: Path, finished: Path, steps: int) -> None:
    """Some six steps an epoch: within the first, within the second."""
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        fit(RECIPE, "digits", folder, threads=1, stop=stop_at(steps), listener=TensorBoard())
    torch.rand(7)  # the caller's generator is no part of it
    resume(folder, listener=TensorBoard())
    assert (folder / "error_terms.jsonl").read_text() == (finished / "error_terms.jsonl").read_text()
    clock = {"run/seconds", "run/images_per_second", "run/memory_mib"}
    first, second = (
        [point for point in scalars(place / "tensorboard") if point[0] not in clock] for place in (folder, finished)
    )
    assert sorted(first) == sorted(second)


def test_lines_of_epochs_that_a_checkpoint_does_not_have_are_written_again(copied: Path) -> None:
    """A process that was killed between the line and the checkpoint left a line too many."""
    path = copied / "error_terms.jsonl"
    before = path.read_text()
    path.write_text(before + json.dumps({**lines(path)[-1], "epoch": 3}) + '\n{"epoch": 4, "lay')
    resume(copied)
    assert path.read_text() == before


def test_the_same_pictures_are_looked_at_in_every_epoch(tmp_path: Path) -> None:
    """With weights that stand still and pictures that are not changed, so do the error terms."""
    still = RECIPE.replace(augmentation=Augmentation()).set(["optimizer.lr=1e-30", "model.options.dropout=0"])
    fit(still, "digits", tmp_path / "run", threads=1)
    first, *others = lines(tmp_path / "run" / "error_terms.jsonl")
    assert len(others) == 2
    assert all({**row, "epoch": 0} == first for row in others)


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit, as RFC 3720 appendix B.4 defines it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Read event files as TensorBoard does: records with lengths and masked checksums, each an Event."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.iterdir()
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        assert struct.unpack("<I", data[at + 8 : at + 12])[0] == masked(data[at : at + 8])
        body = data[at + 12 : at + 12 + length]
        assert struct.unpack("<I", data[at + 12 + length : at + 16 + length])[0] == masked(body)
        event = Event.FromString(body)
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 16 + length
    return found


def test_the_checksum_is_the_standards() -> None:
    assert crc32c(b"123456789") == 0xE3069283, "the check value that everybody quotes"
    assert crc32c(bytes(32)) == 0x8A9136AA, "RFC 3720, appendix B.4"


def test_tensorboard_files_say_what_the_lines_say(finished: Path) -> None:
    points = scalars(finished / "tensorboard")
    assert len({point[:2] for point in points}) == len(points), "no step of a tag twice"
    said = {(tag, step): value for tag, step, value in points}
    for row in lines(finished / "metrics.jsonl"):
        assert said["loss/train", row["epoch"]] == pytest.approx(row["train_loss"], rel=1e-6)
        assert said["accuracy/val", row["epoch"]] == pytest.approx(row["val_accuracy"], rel=1e-6)
        assert said["run/lr", row["epoch"]] == pytest.approx(row["lr"], rel=1e-6)
    for row in lines(finished / "error_terms.jsonl"):
        assert said["error/head.classifier", row["epoch"]] == pytest.approx(row["error"][2], rel=1e-6)


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    board = TensorBoard()
    board.begin(tmp_path, [], [])
    board.epoch({"epoch": 1, "step": 9, "train_loss": None, "val_loss": 2.0, "word": "x"})
    board.error_terms({"epoch": 1, "layers": ["a", "b"], "error": [None, 3.0], "gradient": [1.0, None], "dead": [0, 1]})
    assert sorted(scalars(tmp_path / "tensorboard")) == [
        ("dead/a", 1, 0.0),
        ("dead/b", 1, 1.0),
        ("error/b", 1, 3.0),
        ("gradient/a", 1, 1.0),
        ("loss/val", 1, 2.0),
    ]


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(StriateError, match=r"need the library tensorboardX: pip install 'striate\[tensorboard\]'"):
        TensorBoard()


def test_each_use_of_the_test_split_is_noted(copied: Path) -> None:
    (first,) = uses(copied)
    best = json.loads((copied / "evaluation.json").read_text())
    assert (first.command, first.data, first.own, first.total) == ("train", "digits", True, 300)
    assert first.weights == f"epoch {best['best_epoch']}"
    assert first.accuracy == best["accuracy"]
    resume(copied)  # measures again
    assert [use.command for use in uses(copied)] == ["train", "train"]
    with (copied / "tests.jsonl").open("a") as file:
        file.write('{"when": "to')  # a line that was cut off
    assert len(uses(copied)) == 2


def test_the_use_is_noted_before_the_result_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StriateError("no space left")

    monkeypatch.setattr("striate.training._fit.log_use", full)
    with pytest.raises(StriateError, match="no space left"):
        fit(RECIPE.replace(epochs=1), "digits", tmp_path / "run", threads=1)
    assert not (tmp_path / "run" / "evaluation.json").exists()
    assert Run.open(tmp_path / "run").state() == "failed"


def test_the_states_of_a_run(tmp_path: Path, finished: Path) -> None:
    folder = tmp_path / "run"
    seen: list[str] = []

    class Asks(Listener):
        def epoch(self, row: dict[str, Any]) -> None:
            seen.append(Run.open(folder).state())
            with pytest.raises(InputError, match="another process is training this run; wait for it"):
                resume(folder)

    with pytest.raises(Interrupted):
        fit(RECIPE, "digits", folder, threads=1, stop=stop_at(7), listener=Listeners(Listener(), Asks()))
    assert seen == ["running"]
    assert Run.open(folder).state() == "interrupted"
    (folder / "stopped.json").unlink()
    assert Run.open(folder).state() == "interrupted", "a killed process leaves no word"
    assert Run.open(finished).state() == "finished"


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracking") / "diverged"
    with pytest.raises(Diverged):
        fit(DIVERGING, "digits", folder, threads=1)
    return folder


def test_a_diverged_run_says_so_and_has_a_report(diverged: Path, tmp_path: Path) -> None:
    assert Run.open(diverged).state() == "diverged"
    path, reason = report(diverged, tmp_path / "r.html")
    html = path.read_text()
    assert "Diverged after 0 of 2 epochs: not measured on the test split. What it said last: training diverged" in html
    assert "Error terms of the layers" in html
    assert reason == ""


def test_the_report_can_be_written_anew_to_the_same_bytes(copied: Path) -> None:
    before = (copied / "report.html").read_bytes()
    (copied / "report.html").unlink()
    assert report(copied) == (copied / "report.html", "")
    assert (copied / "report.html").read_bytes() == before
    for words in (b"Uses of the test split", b"First filters", b"Error terms", b"Peak memory", b"a unit of "):
        assert words in before


def test_without_the_data_the_report_has_all_but_the_pictures(copied: Path) -> None:
    pictured = (copied / "report.html").read_text().count("<img")
    path, reason = report(copied, where="elsewhere")
    assert reason.startswith("the pictures are not shown: no known data set and no folder 'elsewhere'")
    assert path.read_text().count("<img") < pictured
    assert "Worst mistakes" in path.read_text()


def test_a_damaged_evaluation_is_one_sentence(copied: Path) -> None:
    (copied / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match=r"evaluation\.json: cannot be read .* striate train --resume"):
        report(copied)


def test_runs_are_found_and_damaged_ones_named(finished: Path, diverged: Path, tmp_path: Path) -> None:
    for name, source in (("b/one", finished), ("a", diverged), ("broken", finished)):
        shutil.copytree(source, tmp_path / name)
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "notes").mkdir()
    found, damaged = find_runs(tmp_path)
    assert [(str(one.run.folder.relative_to(tmp_path)), one.state) for one in found] == [
        ("a", "diverged"),
        ("b/one", "finished"),
    ]
    assert list(damaged) == [tmp_path / "broken"]
    assert "damaged" in damaged[tmp_path / "broken"]
    with pytest.raises(InputError, match="no such folder"):
        find_runs(tmp_path / "absent")


def test_an_overview_says_what_the_files_say(finished: Path, diverged: Path) -> None:
    one, other = Overview.open(finished), Overview.open(diverged)
    rows = lines(finished / "metrics.jsonl")
    measured = json.loads((finished / "evaluation.json").read_text())
    assert one.best_val == max(row["val_accuracy"] for row in rows)
    assert (one.test, one.best_epoch) == (measured["accuracy"], measured["best_epoch"])
    assert list(one.interval or ()) == measured["interval"]
    assert (other.best_val, other.test, other.interval) == (None, None, None)
    assert one.to_json()["epochs"] == 2


def test_settings_that_differ_are_named_with_all_values(finished: Path, diverged: Path) -> None:
    differing = settings_that_differ([Run.open(finished), Run.open(diverged)])
    assert differing.keys() == {"optimizer.lr", "model.options"}
    assert differing["optimizer.lr"] == [0.05, 1e20]
    assert settings_that_differ([Run.open(finished)] * 3) == {}
