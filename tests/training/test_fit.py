"""Whole runs on the embedded digits: learning, exact resume, clean stops, clear refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from striate.errors import InputError, StriateError
from striate.training import (
    Interrupted,
    Listener,
    LossOptions,
    ModelOptions,
    OptimizerOptions,
    Recipe,
    Run,
    Step,
    Trained,
    fit,
    named_recipe,
    resume,
)
from striate.training import _checkpoint as checkpoint

LENET = named_recipe("digits").replace(epochs=2, batch_size=256)
CONVNET = LENET.replace(
    model=ModelOptions("convnet", {"blocks": [[1, 8, 2], [1, 16, 2]], "dropout": 0.5}),
    loss=LossOptions(label_smoothing=0.1),
    optimizer=OptimizerOptions("sgd", lr=0.05, nesterov=True, clip_norm=1.0),
    ema=0.0,
)


CLOCK = {"seconds", "images_per_second", "memory_mib"}  # what is of the machine, not of the training


class Recorder(Listener):
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.rows: list[dict[str, Any]] = []

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


def stop_at(step: int) -> Any:
    """A `stop` that is true when it is asked for the so-manieth time."""
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= step


def weights(folder: Path) -> dict[str, torch.Tensor]:
    run = Run.open(folder)
    last = checkpoint.latest(run.checkpoints)
    assert last is not None
    return {**last.tensors, **{f"best.{k}": v for k, v in checkpoint.read(run.best).tensors.items()}}


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def timeless(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what the clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One uninterrupted run of each recipe."""
    room = tmp_path_factory.mktemp("whole")
    for name, recipe in (("lenet", LENET), ("convnet", CONVNET)):
        fit(recipe, "digits", room / name, threads=1)
    return {"lenet": room / "lenet", "convnet": room / "convnet"}


@pytest.mark.parametrize("name", ["lenet", "convnet"])
@pytest.mark.parametrize("steps", [1, 5, 6, 8])
def test_resume_is_exact_at_any_step(tmp_path: Path, whole: dict[str, Path], name: str, steps: int) -> None:
    """Six steps an epoch: in the middle, at its last step, and in the second epoch."""
    recipe = {"lenet": LENET, "convnet": CONVNET}[name]
    with pytest.raises(Interrupted, match=r"continue with: striate train --resume"):
        fit(recipe, "digits", tmp_path / "run", threads=1, stop=stop_at(steps))
    assert not (tmp_path / "run" / "evaluation.json").exists()
    torch.rand(7)  # the caller's generator is no part of it
    resume(tmp_path / "run")
    assert same_bits(weights(tmp_path / "run"), weights(whole[name]))
    assert timeless(tmp_path / "run") == timeless(whole[name])
    assert (tmp_path / "run" / "evaluation.json").read_text() == (whole[name] / "evaluation.json").read_text()


def test_another_seed_gives_other_weights(tmp_path: Path, whole: dict[str, Path]) -> None:
    """Lest the comparison above be of things that are always equal."""
    fit(CONVNET.replace(seed=1), "digits", tmp_path / "run", threads=1)
    assert not same_bits(weights(tmp_path / "run"), weights(whole["convnet"]))


def test_dropout_differs_from_step_to_step(tmp_path: Path) -> None:
    """The generator is seeded at each step by (seed, step): never the same mask twice."""
    seeds: list[int] = []

    class Seeds(Listener):
        def step(self, step: Step) -> None:
            seeds.append(torch.initial_seed())

    fit(CONVNET.replace(epochs=1), "digits", tmp_path / "run", threads=1, listener=Seeds())
    assert len(set(seeds)) == len(seeds) == 6


def test_a_finished_run_resumes_to_the_same_end(whole: dict[str, Path]) -> None:
    before = weights(whole["lenet"])
    trained = resume(whole["lenet"])
    assert same_bits(weights(whole["lenet"]), before)
    assert len(trained.history) == 2


def test_the_run_tells_what_it_does(tmp_path: Path) -> None:
    seen = Recorder()
    torch.manual_seed(12345)  # a state that no run of ours leaves behind
    generator = torch.get_rng_state()
    trained = fit(CONVNET, "digits", tmp_path / "run", threads=1, listener=seen)
    assert torch.equal(torch.get_rng_state(), generator), "the caller's random numbers are left alone"
    assert [s.batch for s in seen.steps] == [1, 2, 3, 4, 5, 6] * 2
    assert [s.epoch for s in seen.steps] == [1] * 6 + [2] * 6
    assert seen.rows == trained.history
    assert seen.rows[1]["train_loss"] < seen.rows[0]["train_loss"]
    assert timeless(tmp_path / "run") == [{k: v for k, v in row.items() if k not in CLOCK} for row in trained.history]


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path) -> None:
    recipe = CONVNET.replace(epochs=6, patience=2, schedule=CONVNET.schedule.__class__("constant"))
    recipe = recipe.set(["optimizer.lr=3.0", "optimizer.clip_norm=0", "model.options.norm=batch"])
    trained = fit(recipe, "digits", tmp_path / "run", threads=1)
    accuracies = [row["val_accuracy"] for row in trained.history]
    best = max(range(len(accuracies)), key=lambda e: (accuracies[e], -trained.history[e]["val_loss"]))
    assert checkpoint.read(trained.run.best).state == {"epoch": best + 1}
    assert len(accuracies) == 6 or len(accuracies) == best + 1 + 2, "two epochs of patience after the best"


def test_divergence_stops_with_a_remedy(tmp_path: Path) -> None:
    recipe = CONVNET.set(["optimizer.lr=1e20", "optimizer.clip_norm=0", "model.options.norm=none"])
    with pytest.raises(StriateError, match=r"training diverged in epoch 1, step \d+: .*--set optimizer\.lr=1e\+19"):
        fit(recipe, "digits", tmp_path / "run", threads=1)


def test_an_occupied_folder_is_refused(tmp_path: Path, whole: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"already holds a run; continue it with: striate train --resume"):
        fit(LENET, "digits", whole["lenet"])
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty \(it holds 'thesis.txt'\); choose a new folder"):
        fit(LENET, "digits", tmp_path)
    with pytest.raises(InputError, match="is a file; choose another name"):
        fit(LENET, "digits", tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_start_that_was_killed_early_can_be_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.json").write_text("{}")
    (folder / ".run.json.0a0b0c0d.part").write_text("{")
    with pytest.raises(InputError, match=r"not a run \(it has no run.json\); start one with"):
        resume(folder)
    fit(LENET.replace(epochs=1), "digits", folder, threads=1)
    assert (folder / "report.html").is_file()


def edit(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    with pytest.raises(Interrupted):
        fit(LENET, "digits", tmp_path / "run", threads=1, stop=stop_at(2))
    return tmp_path / "run"


def test_a_changed_recipe_is_refused(stopped: Path) -> None:
    edit(stopped / "recipe.json", {"epochs": 9})
    with pytest.raises(InputError, match=r"recipe.json was changed after the run began; restore it to resume"):
        resume(stopped)


def test_settings_that_differ_are_named(stopped: Path) -> None:
    run = Run.open(stopped)
    with pytest.raises(InputError, match=r"keeps its recipe, but this one changes epochs: 2 -> 5; start a new run"):
        run.require_same_recipe(run.recipe.set(["epochs=5"]))


def test_changed_data_is_refused(stopped: Path) -> None:
    edit(stopped / "run.json", {"fingerprint": "0" * 64})
    with pytest.raises(InputError, match="is not what this run began with"):
        resume(stopped)


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 1}', ""])
def test_a_damaged_run_is_one_sentence(stopped: Path, damage: str) -> None:
    (stopped / "run.json").write_text(damage)
    with pytest.raises(InputError, match=r"run\.json|cannot be read|format"):
        resume(stopped)


def test_a_newer_run_format(stopped: Path) -> None:
    edit(stopped / "run.json", {"format": 2})
    with pytest.raises(InputError, match="a run of format 2, this version reads format 1"):
        resume(stopped)


def test_a_run_whose_device_is_not_here(stopped: Path) -> None:
    edit(stopped / "run.json", {"device": "cuda:77"})
    with pytest.raises(StriateError, match="device 'cuda:77' cannot be used here"):
        resume(stopped)


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        resume(tmp_path / "absent")


def test_nothing_is_written_when_the_network_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes 32 x 32 images"):
        fit(LENET.set(["data.border=0"]), "digits", tmp_path / "run")
    with pytest.raises(InputError, match="no known data set and no folder 'digitz'; did you mean 'digits'"):
        fit(LENET, "digitz", tmp_path / "run")
    with pytest.raises(InputError, match="fcn-32s is a network for segmentation and the data are one label"):
        fit(LENET.replace(model=ModelOptions("fcn-32s")), "digits", tmp_path / "run")
    with pytest.raises(StriateError, match=r"device 'cuda:77' cannot be used here .*for example --device cpu"):
        fit(LENET, "digits", tmp_path / "run", device="cuda:77")
    assert not (tmp_path / "run").exists()


def test_threads_of_the_caller_are_restored(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    trained: Trained = fit(LENET.replace(epochs=1), "digits", tmp_path / "run", threads=2)
    assert torch.get_num_threads() == before
    assert trained.run.threads == Run.open(tmp_path / "run").threads == 2


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_the_learning_rate_follows_the_schedule(tmp_path: Path, schedule: str) -> None:
    recipe: Recipe = LENET.set([f"schedule.name={schedule}", "schedule.warmup=1", "schedule.milestones=1.5"])
    seen = Recorder()
    fit(recipe, "digits", tmp_path / "run", threads=1, listener=seen)
    rates = [s.lr / recipe.optimizer.lr for s in seen.steps]
    assert rates[:6] == pytest.approx([(b + 0.5) / 6 for b in range(6)])
    if schedule == "constant":
        assert rates[6:] == pytest.approx([1.0] * 6)
    elif schedule == "step":
        assert rates[6:] == pytest.approx([1.0] * 3 + [0.1] * 3)
    else:
        assert rates[6:] == sorted(rates[6:], reverse=True)
        assert rates[-1] < 0.05
