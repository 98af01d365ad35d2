"""What a training will take: measured on a copy by a clock of our own, said before, compared afterwards."""

import datetime
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from striate.data import Augmentation
from striate.errors import StriateError
from striate.training import (
    Forecast,
    Listener,
    Run,
    Step,
    Taken,
    _forecast,
    _plan,
    _timing,
    fit,
    forecast,
    named_recipe,
    read_forecast,
    report,
)
from striate.training import _checkpoint as checkpoint
from striate.training._disk import free_mib, needed_mib
from striate.training._loop import Trainer, fresh_model
from striate.training._pace import Pace
from striate.training._rehearsal import Rehearsal

RECIPE = named_recipe("digits-convnet").set(["epochs=2", "batch_size=128", "model.options.blocks=[[1,8,2],[1,16,2]]"])
RECIPE = RECIPE.replace(augmentation=Augmentation(shift=0.1))
MIB = 2**20
MADE = "2026-07-14T23:50:00+02:00"
FORECAST = Forecast(MADE, 20, 36.0, 4.0, 0.0, 812.0, 45.0, 2048.0, 7, 1.5)


class Heard(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[Step] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, step: Step) -> None:
        self.steps.append(step)


class Clock:
    """A clock that goes only when something is done."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    plan = _plan.planned(
        RECIPE, "digits", tmp_path / "run", data_root=None, runtime=None, device="cpu", listener=Listener()
    )
    return Rehearsal(plan.run, plan.data)


def timed(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, *, step: float, picture: float, packing: float
) -> Forecast:
    """Forecast with a clock by which all this takes so long, the first step and validation much longer."""
    clock, prepared = Clock(), set[str]()

    def slow(what: str, seconds: float) -> None:
        clock.now += seconds if what in prepared else 10 * seconds
        prepared.add(what)

    validate = rehearsal.task.validate
    monkeypatch.setattr(rehearsal, "step", lambda *_: slow("step", step))
    monkeypatch.setattr(
        rehearsal.task,
        "validate",
        lambda model, split, **settings: (
            slow("picture", picture * len(split)),
            validate(model, split, **settings),
        )[1],
    )
    prepared.add("pack")
    monkeypatch.setattr(_timing.checkpoint, "packed", lambda *_: slow("pack", packing))
    return _timing.measure(rehearsal, checkpoint_seconds=30.0, disk_mib=7.0, error_terms=True, clock=clock)


@pytest.mark.parametrize(("step", "picture", "packing"), [(0.5, 0.001, 0.0), (3.0, 0.1, 6.0), (40.0, 0.0, 0.0)])
def test_the_forecast_is_what_the_clock_makes_of_the_whole_run(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, step: float, picture: float, packing: float
) -> None:
    found = timed(rehearsal, monkeypatch, step=step, picture=picture, packing=packing)
    train, val, test = (len(rehearsal.data.splits[name]) for name in ("train", "val", "test"))
    between = val * picture + step * 64 / 128  # error terms: of 64 pictures
    by_hand = 2 * (step * train / 128 + between) * (1 + packing / max(30.0, step))
    by_hand += (val + test) * picture + packing
    assert found.seconds == pytest.approx(by_hand, rel=1e-3)
    assert found.between_seconds == pytest.approx(between, rel=1e-3)


@pytest.mark.parametrize("epochs", [20, 2000])
def test_it_takes_two_hundredths_of_the_run_or_some_seconds(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    rehearsal.recipe = rehearsal.recipe.replace(epochs=epochs)
    found = timed(rehearsal, monkeypatch, step=0.1, picture=0.0001, packing=0.0)
    limit = min(5.0, 0.02 * found.seconds)
    assert 0.5 * limit < found.spent_seconds - 10 * 0.1 <= 2 * limit + 0.1, "but for the first step, ten times as long"
    assert found.timed_steps == pytest.approx(limit / 0.1, abs=2)


def test_where_files_are_loaded_ahead_the_first_steps_do_not_count(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, taken = Clock(), iter([9.0, 0.1, 0.1, 2.0, 2.0, 2.0])
    monkeypatch.setattr(type(rehearsal.train_split), "in_memory", False)

    def step(*_: object) -> None:
        clock.now += next(taken)

    monkeypatch.setattr(rehearsal, "step", step)
    assert _timing._time_steps(rehearsal, 100, clock) == (2, 2.0)


def state(folder: Path) -> dict[str, torch.Tensor]:
    run = Run.open(folder)
    last = checkpoint.latest(run.checkpoints)
    assert last is not None
    return {**last.tensors, **{f"best.{k}": v for k, v in checkpoint.read(run.best).tensors.items()}}


def test_training_is_bit_identical_with_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plan, "TINY_STEPS", 0)
    monkeypatch.setattr(_plan, "TINY_SECONDS", 0.0)
    recipe = RECIPE.set(["model.options.dropout=0.5", "ema=0.9", "optimizer.name=adamw", "optimizer.lr=0.002"])
    heard = Heard()
    torch.manual_seed(5)
    generator = torch.get_rng_state()
    fit(recipe, "digits", tmp_path / "with", threads=1, listener=heard)
    assert torch.equal(torch.get_rng_state(), generator)
    fit(recipe, "digits", tmp_path / "without", threads=1, forecast=False)
    with_it, without = state(tmp_path / "with"), state(tmp_path / "without")
    assert with_it.keys() == without.keys()
    assert all(torch.equal(with_it[name], without[name]) for name in with_it)
    assert not (tmp_path / "without" / "forecast.json").exists()

    first, *_, last = heard.notes
    assert first.startswith("forecast: ")
    assert last.startswith("forecast ")
    known = read_forecast(tmp_path / "with" / "forecast.json")
    assert known is not None
    foreseen, taken = known
    assert first == foreseen.as_text()
    assert taken is not None
    assert last == taken.beside(foreseen)
    rows = [json.loads(line) for line in (tmp_path / "with" / "metrics.jsonl").read_text().splitlines()]
    assert taken.epochs == 2
    assert taken.seconds >= sum(row["seconds"] for row in rows) - 0.01, "epochs and all around them"
    assert taken.memory_mib == max(row["memory_mib"] for row in rows)
    html = (tmp_path / "with" / "report.html").read_text()
    assert last in html
    report(tmp_path / "with")
    assert (tmp_path / "with" / "report.html").read_text() == html


def test_a_tiny_training_has_none(tmp_path: Path) -> None:
    heard = Heard()
    fit(RECIPE, "digits", tmp_path / "run", threads=1, listener=heard)
    assert not [note for note in heard.notes if note.startswith("forecast")]
    assert not (tmp_path / "run" / "forecast.json").exists()


def test_only_a_forecast_writes_nothing(tmp_path: Path) -> None:
    found = forecast(RECIPE, "digits", tmp_path / "absent" / "run")
    assert list(tmp_path.iterdir()) == []
    assert found.epochs == 2
    assert found.timed_steps >= 1
    assert found.seconds > 0
    assert Forecast.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_what_it_says() -> None:
    assert FORECAST.as_text() == (
        "forecast: 12 min 0 s (20 epochs of 36 s), until about Wed 15 Jul 00:02; memory 812 MiB; "
        "disk 45 MiB of 2.0 GiB free"
    )
    soon = Forecast("2026-07-14T08:00:00+02:00", 1, 61.0, 0.0, 0.0, None, 45.0, None, 1, 0.1)
    assert soon.as_text() == "forecast: 1 min 1 s (1 epoch of 1 min 1 s), until about 08:01; disk 45 MiB"
    assert FORECAST.ends == datetime.datetime.fromisoformat("2026-07-15T00:02:00+02:00")
    assert Taken(800.0, 20, 840.0).beside(FORECAST) == (
        "forecast 12 min 0 s, took 13 min 20 s; memory forecast 812 MiB, was 840 MiB"
    )
    assert Taken(400.0, 10, None).beside(FORECAST) == "forecast 6 min 0 s for 10 of 20 epochs, took 6 min 40 s"


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"made": 1}', json.dumps({**FORECAST.to_json(), "taken": 3})])
def test_a_damaged_forecast_is_as_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "forecast.json"
    path.write_text(damage)
    assert read_forecast(path) is None
    assert _forecast.note_taken(path, 1.0, []) is None
    assert path.read_text() == damage


Usage = namedtuple("Usage", "total used free")


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def usage(place: Path) -> Any:
        asked.append(place)
        return Usage(100 * MIB, 99 * MIB, 1 * MIB)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    folder = tmp_path / "not" / "yet"
    with pytest.raises(
        StriateError,
        match=r"the run needs up to 4 MiB for checkpoints, weights and bundle, and the disk has 1 MiB left; "
        r"free some space or choose another --out \(--no-forecast begins all the same\)",
    ):
        fit(RECIPE, "digits", folder)
    assert asked == [tmp_path]
    assert list(tmp_path.iterdir()) == []
    fit(RECIPE.replace(epochs=1), "digits", folder, threads=1, forecast=False)


def test_a_disk_that_does_not_tell_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(place: Path) -> Any:
        raise OSError("not here")

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert free_mib(tmp_path) is None
    fit(RECIPE.replace(epochs=1), "digits", tmp_path / "run", threads=1)


@pytest.mark.parametrize(
    "settings",
    [
        ["optimizer.name=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"],
        ["optimizer.name=sgd", "ema=0.99"],
        ["optimizer.name=rmsprop", "optimizer.nesterov=false"],
        ["optimizer.name=adamw", "ema=0.99"],
    ],
)
def test_the_room_on_the_disk_is_what_checkpoints_take(tmp_path: Path, settings: list[str]) -> None:
    """By the files' true sizes; what is allowed for names, measures and the report is a constant."""
    recipe = RECIPE.set(["ema=0", *settings, "model.options.blocks=[[1,64,1],[1,128,1]]"])
    plan = _plan.planned(
        recipe, "digits", tmp_path / "run", data_root=None, runtime=None, device="cpu", listener=Listener()
    )
    rehearsal = Rehearsal(plan.run, plan.data)
    rehearsal.step(*next(rehearsal.endless()))
    whole = len(checkpoint.packed(*rehearsal.contents()))
    best = len(checkpoint.packed(rehearsal.judged_model().state_dict(), {}))
    needed = needed_mib(fresh_model(recipe, plan.data), recipe) * MIB - 4 * MIB
    assert needed == pytest.approx(3 * whole + 3 * best, rel=0.05)


def test_the_time_left_includes_what_stands_between_epochs() -> None:
    clock = Clock()
    pace = Pace(between=50.0, clock=clock)
    for seconds in (30.0, 2.0, 2.0, 4.0):
        clock.now += seconds
        assert pace.step() == seconds
    assert pace.left(10, 3) == pytest.approx(10 * (2 + 2 + 4) / 3 + 3 * 50), "the first step is no measure"
    clock.now += 20.0
    pace.epoch()
    assert pace.left(0, 1) == 20.0, "what was measured counts more than what was foreseen"
    for _ in range(500):
        clock.now += 1.0
        pace.step()
    assert pace.left(10, 0) == pytest.approx(10.0), "what is long ago does not count"


def test_a_slow_validation_is_in_the_time_left_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes 1 s for a step and 100 s for a validation."""
    clock = Clock()
    original, validate = Trainer.step, Trainer.end_epoch
    monkeypatch.setattr("striate.training._loop.Pace", lambda between: Pace(between, clock))

    def step(self: Trainer, *batch: Any) -> None:
        clock.now += 1.0
        original(self, *batch)

    def end_epoch(self: Trainer) -> None:
        clock.now += 100.0
        validate(self)

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(Trainer, "end_epoch", end_epoch)
    heard = Heard()
    fit(RECIPE.replace(epochs=3), "digits", tmp_path / "run", threads=1, listener=heard)
    batches = heard.steps[0].batches
    left = [step.seconds_left for step in heard.steps]
    assert left[0] == 3 * batches - 1, "the first epoch has not seen a validation"
    assert left[batches] == pytest.approx(2 * batches - 1 + 2 * 100.0)
    assert left[-1] == pytest.approx(100.0)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[1]["images_per_second"] == round(Run.open(tmp_path / "run").splits["train"] / batches, 1)
