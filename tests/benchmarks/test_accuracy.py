"""The benchmarks of trainings: both sides learn, the epoch that reaches the goal ends it, the tables say what was."""

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import precision_and_accuracy as precisions
import time_to_accuracy as benchmark
from time_to_accuracy import Goal

from striate.models import build
from striate.training import OptimizerOptions, named_recipe
from striate.training._optimizer import make_optimizer

MNIST = benchmark.goal_of("mnist")
SMALL = Goal("digits", named_recipe("digits").set(["model.name=lenet5-modern", "loss.name=cross_entropy"]), 0.5)


@pytest.mark.parametrize("variant", benchmark.VARIANTS)
def test_a_training_ends_where_it_reaches_its_goal(variant: str, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        found = benchmark.train(variant, SMALL, 1, tmp_path, 1)["epochs"]
    finally:
        torch.set_num_threads(threads)
    assert 1 <= len(found) < SMALL.recipe.epochs
    assert [epoch["accuracy"] >= 0.5 for epoch in found] == [False] * (len(found) - 1) + [True]
    assert [epoch["wall"] for epoch in found] == sorted(epoch["wall"] for epoch in found)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_plain_optimiser_has_the_recipe_s_settings(name: str) -> None:
    options = OptimizerOptions(name, lr=0.02, momentum=0.8, nesterov=name == "sgd", weight_decay=0.1)  # type: ignore[arg-type]
    ours, theirs = (make(options, build("lenet5-modern")) for make in (_ours, benchmark.plain_optimizer))
    assert type(ours) is type(theirs)
    kept = {"lr", "momentum", "nesterov", "betas", "eps"} & ours.defaults.keys()
    assert {key: ours.defaults[key] for key in kept} == {key: theirs.defaults[key] for key in kept}
    assert theirs.defaults["weight_decay"] == 0.1


def _ours(options: OptimizerOptions, model: Any) -> torch.optim.Optimizer:
    return make_optimizer(options, model)


def test_the_table_has_the_time_of_the_epoch_that_reached_it() -> None:
    def trained(variant: str, seed: int, *ends: tuple[float, float]) -> dict[str, Any]:
        epochs = [{"wall": wall, "cpu": 2 * wall, "accuracy": accuracy} for wall, accuracy in ends]
        return {"variant": variant, "data": "mnist", "seed": seed, "epochs": epochs}

    found = [
        trained("pytorch", 0, (10.0, 0.98), (20.0, 0.991)),
        trained("pytorch", 1, (15.0, 0.97), (30.0, 0.989)),
        trained("striate", 0, (4.0, 0.992), (8.0, 0.9)),
        trained("striate", 1, (5.0, 0.98), (10.0, 0.99)),
        {"variant": "striate", "data": "mnist", "seed": 2, "error": "it broke"},
    ]
    text = benchmark.report(found)
    name = "mnist, lenet5-modern, 99 %"
    assert f"| {name} | pytorch | 1 of 2 | 20 (20 to 20) | 40 (40 to 40) | 2 (2 to 2) | 1.00 |" in text
    assert f"| {name} | striate | 2 of 3 | 7 (4 to 10) | 14 (8 to 20) | 2 (1 to 2) | 2.86 |" in text
    assert "striate, mnist: it broke" in text


def test_a_part_of_cifar_is_the_first_pictures_of_each_file(tmp_path: Path) -> None:
    source, target = tmp_path / "all" / "below", tmp_path / "part"
    source.mkdir(parents=True)
    target.mkdir()
    with pytest.raises(SystemExit, match="expected CIFAR-10's binary files"):
        benchmark.write_part(tmp_path, target)
    for k in range(1, 6):
        (source / f"data_batch_{k}.bin").write_bytes(bytes([k]) * (benchmark.PART + 1) * benchmark.RECORD)
    (source / "test_batch.bin").write_bytes(b"test")
    benchmark.write_part(tmp_path / "all", target)
    assert (target / "data_batch_3.bin").read_bytes() == b"\3" * benchmark.PART * benchmark.RECORD
    assert (target / "test_batch.bin").read_bytes() == b"test"


def test_every_seed_trains_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[list[str]] = []

    def fresh(words: list[str], threads: int) -> dict[str, Any]:
        done.append(words)
        return {"epochs": []}

    monkeypatch.setattr(benchmark, "fresh", fresh)
    parser = argparse.ArgumentParser()
    benchmark.add_options(parser)
    asked = parser.parse_args(["--data-root", str(tmp_path), "--data", "mnist", "fashion-mnist", "--seeds", "3", "4"])
    found = benchmark.trainings("script", asked, ["a", "b"])
    every = {(v, data, seed) for v in "ab" for data in ("mnist", "fashion-mnist") for seed in (3, 4)}
    assert {(row["variant"], row["data"], row["seed"]) for row in found} == every
    assert len(done) == len(every) == 8


def test_precisions_are_compared_with_exact() -> None:
    def judged(precision: str, seed: int, correct: int) -> dict[str, Any]:
        return {"variant": precision, "data": "mnist", "seed": seed, "correct": correct, "total": 1000, "cpu": 10.0}

    found = [judged("exact", 0, 990), judged("exact", 1, 980), judged("bf16", 0, 989), judged("bf16", 1, 983)]
    text = precisions.report([*found, {"variant": "high", "data": "mnist", "seed": 0, "error": "it broke"}])
    assert "| mnist, lenet5-modern | exact | 2 | 98.50 (98.00 to 99.00) |  | 10 (10 to 10) |" in text
    assert "| mnist, lenet5-modern | bf16 | 2 | 98.60 (98.30 to 98.90) | +0.10 (2 s.e. 1.17) |" in text
    assert "high, mnist: it broke" in text


def test_a_precision_is_judged_on_the_test_split(tmp_path: Path) -> None:
    goal = SMALL._replace(recipe=SMALL.recipe.replace(epochs=1))
    found = precisions.train("exact", goal, 0, tmp_path, 1)
    assert 0 < found["correct"] <= found["total"] == 300
    assert found["cpu"] > 0


def test_a_goal_is_shortened_where_it_is_told() -> None:
    assert benchmark.shortened(MNIST) == MNIST
    short = benchmark.shortened(MNIST, epochs=3)
    assert (short.recipe.epochs, short.accuracy) == (3, MNIST.accuracy)
    assert benchmark.shortened(MNIST, quick=True, epochs=3).recipe.epochs == 1
