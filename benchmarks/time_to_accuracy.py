"""How long a training takes to an accuracy: Striate's own beside a plain PyTorch loop of the same network.

    python benchmarks/time_to_accuracy.py --data-root FOLDER --write docs/performance.md

LeNet-5 (as usually written) to 99 % on MNIST, the typical network to 92 % on Fashion-MNIST, ResNet-20 to 60 % on a
quarter of CIFAR-10: the recipe's network, optimiser, schedule and changed pictures, measured on the validation split
after every epoch. Time begins with opening the data, imports done, and ends when the accuracy is reached; each training
is a process of its own, seeds are the rounds. FOLDER has the sets' official files, as for `striate train --data-root`.

"striate" is `fit` with its defaults. "pytorch" is the loop that people write: the network of plain torch.nn modules in
eager float32, N x C x H x W, torch.optim, without the average of the weights that some recipes have. It gets its
pictures from Striate's loader, so that only the training differs.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plain_torch import plain
from sections import machine, markdown_table, versions, write_record, write_section
from variants import Row, fresh

from striate.data import batches, open_data, shuffled
from striate.errors import Interrupted
from striate.models import build
from striate.nn import Sequenced
from striate.runtime import RuntimeOptions
from striate.training import Listener, OptimizerOptions, Recipe, ScheduleOptions, fit, named_recipe
from striate.training._schedule import factor
from striate.training._task import task_of

RECORD = 1 + 3 * 32 * 32  # a label and the pixels of a picture of CIFAR-10
PART = 2_500  # pictures of each of its five files
VARIANTS = ("pytorch", "striate")


class Goal(NamedTuple):
    """A data set, how it is learned and the accuracy to reach on its validation split."""

    data: str
    recipe: Recipe
    accuracy: float


GOALS = (
    Goal("mnist", named_recipe("lenet5-modern").replace(epochs=10), 0.99),
    Goal("fashion-mnist", named_recipe("small-images"), 0.92),
    Goal(
        "cifar10",
        named_recipe("resnet-cifar-20").replace(epochs=10, schedule=ScheduleOptions("cosine", warmup=0.5)),
        0.60,
    ),
)


class Watch(Listener):
    """Notes what every epoch took since the beginning, and its accuracy; knows when a goal is reached."""

    def __init__(self, accuracy: float) -> None:
        self.accuracy, self.rows = accuracy, list[Row]()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def epoch(self, row: dict[str, Any]) -> None:
        """Note the end of an epoch."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        self.rows.append({"wall": round(wall, 2), "cpu": round(cpu, 2), "accuracy": row["val_accuracy"]})

    def reached(self) -> bool:
        """Whether the last epoch has the accuracy."""
        return bool(self.rows) and self.rows[-1]["accuracy"] >= self.accuracy


def main() -> None:
    """Train, print the table, write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    asked = parser.parse_args()
    if asked.one:
        variant, name, seed = asked.one
        goal = shortened(goal_of(name), quick=asked.quick, epochs=asked.epochs)
        print(json.dumps(train(variant, goal, int(seed), asked.data_root, asked.threads)))
        return
    found = trainings(__file__, asked, VARIANTS)
    print(text := report(found, quick=asked.quick))
    if asked.write:
        write_section(asked.write, "accuracy", text)
        write_record(asked.write, "accuracy", {"trainings": found}, "torch")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark of trainings its options."""
    names = [goal.data for goal in GOALS]
    parser.add_argument("--data-root", type=Path, required=True, metavar="FOLDER", help="where the data sets are")
    parser.add_argument("--data", nargs="+", choices=names, default=names, help="only these sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's, its schedule shortened")
    parser.add_argument("--quick", action="store_true", help="for a look: one epoch of MNIST")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, a .json beside it")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # what the processes are called with


def trainings(script: str, asked: argparse.Namespace, variants: Sequence[str]) -> list[Row]:
    """Train each variant on each set with each seed, in shuffled order; return what each process found."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        roots = {"cifar10": Path(place)} if "cifar10" in asked.data and not asked.quick else {}
        for target in roots.values():
            write_part(asked.data_root, target)
        for seed in asked.seeds[:1] if asked.quick else asked.seeds:
            jobs = [(v, data) for data in (["mnist"] if asked.quick else asked.data) for v in variants]
            for variant, data in random.Random(seed).sample(jobs, len(jobs)):
                words = ["--data-root", str(roots.get(data, asked.data_root)), "--threads", str(asked.threads)]
                words += ["--quick"] if asked.quick else []
                words += ["--epochs", str(asked.epochs)] if asked.epochs else []
                row = fresh([script, *words, "--one", variant, data, str(seed)], asked.threads)
                found.append({"variant": variant, "data": data, "seed": seed, **row})
                print(f"{data}, {variant}, seed {seed}: {row}", flush=True)
    return found


def goal_of(data: str) -> Goal:
    """Return the goal of a data set."""
    return next(goal for goal in GOALS if goal.data == data)


def shortened(goal: Goal, *, quick: bool = False, epochs: int | None = None) -> Goal:
    """Return the goal, trained for so many epochs if told, or what one epoch reaches."""
    if quick:
        return goal._replace(recipe=goal.recipe.replace(epochs=1), accuracy=0.5)
    return goal._replace(recipe=goal.recipe.replace(epochs=epochs)) if epochs else goal


def write_part(source: Path, target: Path) -> None:
    """Write the first pictures of CIFAR-10's official files; raises SystemExit where these are not."""
    first = next(source.rglob("data_batch_1.bin"), None)
    if first is None:
        raise SystemExit(f"{source}: expected CIFAR-10's binary files (data_batch_1.bin ...) here or in a folder below")
    for k in range(1, 6):
        with first.with_name(f"data_batch_{k}.bin").open("rb") as file:
            (target / f"data_batch_{k}.bin").write_bytes(file.read(PART * RECORD))
    (target / "test_batch.bin").write_bytes(first.with_name("test_batch.bin").read_bytes())


def train(variant: str, goal: Goal, seed: int, root: Path, threads: int) -> Row:
    """Train until the goal is reached or the recipe ends; return the epochs."""
    goal = goal._replace(recipe=goal.recipe.replace(seed=seed))
    watch = Watch(goal.accuracy)
    if variant == "pytorch":
        plain_training(goal, root, threads, watch)
        return {"epochs": watch.rows}
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        options = RuntimeOptions(threads=threads)
        with contextlib.suppress(Interrupted):  # the goal is reached, and nothing more is wanted
            fit(goal.recipe, goal.data, run, data_root=root, runtime=options, listener=watch, stop=watch.reached)
        return {"epochs": watch.rows, "runtime": json.loads((run / "run.json").read_text())["runtime"]}


def plain_training(goal: Goal, root: Path, threads: int, watch: Watch) -> None:
    """Train as people write it."""
    recipe = goal.recipe
    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    data = open_data(goal.data, recipe.data, seed=recipe.seed, data_root=root)
    channels, *size = data.preprocessing.input_size
    classes, options = len(data.classes), recipe.model.options
    model = build(recipe.model.name, classes=classes, channels=channels, size=(size[0], size[1]), **options)
    model = plain(nn.Sequential(*model.sequence()) if isinstance(model, Sequenced) else model)
    task, split, optimizer = task_of(recipe, data), data.splits["train"], plain_optimizer(recipe.optimizer, model)
    steps = -(-len(split) // recipe.batch_size)
    for epoch in range(recipe.epochs):
        model.train()
        every = batches(split, shuffled(recipe.seed, epoch, split.keys), recipe.batch_size)
        for number, (rows, images, labels) in enumerate(every):
            for group in optimizer.param_groups:
                at = epoch + (number + 0.5) / steps
                group["lr"] = recipe.optimizer.lr * factor(recipe.schedule, at, recipe.epochs, [])
            inputs, targets = task.augment(images, labels, split.keys[rows], epoch)
            optimizer.zero_grad()
            task.loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        measured = task.validate(model.eval(), data.splits["val"], batch_size=recipe.batch_size)
        watch.epoch(measured.row)
        if watch.reached():
            return


def plain_optimizer(options: OptimizerOptions, model: nn.Module) -> torch.optim.Optimizer:
    """Return PyTorch's optimiser of the recipe's settings over all parameters."""
    words: dict[str, Any] = {"lr": options.lr, "weight_decay": options.weight_decay}
    if options.name == "adamw":
        return torch.optim.AdamW(model.parameters(), betas=(options.momentum, options.beta2), **words)
    return torch.optim.SGD(model.parameters(), momentum=options.momentum, nesterov=options.nesterov, **words)


def report(found: Sequence[Row], *, quick: bool = False) -> str:
    """Return a table: the time of each variant to each goal, and how many times as long PyTorch takes."""
    body = []
    for goal in (shortened(goal, quick=quick) for goal in GOALS):
        own = [row for row in found if row["data"] == goal.data]
        base = _seconds(own, goal, "pytorch", "wall")
        for variant in dict.fromkeys(sorted(row["variant"] for row in own)):
            ends = [_end(row, goal) for row in own if row["variant"] == variant]
            reached = [end for end in ends if end is not None]
            wall, cpu = (_seconds(own, goal, variant, kind) for kind in ("wall", "cpu"))
            times = f"{statistics.median(base) / statistics.median(wall):.2f}" if base and wall else ""
            epochs = spread([float(end["epoch"]) for end in reached], "{:.0f}")
            name = f"{goal.data}, {goal.recipe.model.name}, {100 * goal.accuracy:g} %"
            row = [name, variant, f"{len(reached)} of {len(ends)}", spread(wall, "{:.0f}"), spread(cpu, "{:.0f}")]
            body.append([*row, epochs, times])
    head = ["to reach", "variant", "reached", "s", "processor's s", "epochs", "pytorch / this"]
    errors = "".join(f"\n\n{row['variant']}, {row['data']}: {row['error']}" for row in found if "error" in row)
    seeds = len({row["seed"] for row in found})
    where = f"{machine()}; {versions('torch')}; medians over {seeds} seeds (least to most)."
    return f"{where}\n\n{markdown_table(head, body, right=2)}{errors}"


def spread(values: Sequence[float], form: str) -> str:
    """Return the median and the extremes, nothing for nothing."""
    if not values:
        return ""
    middle, low, high = (form.format(f(values)) for f in (statistics.median, min, max))
    return f"{middle} ({low} to {high})"


def _end(row: Row, goal: Goal) -> Row | None:
    """Return the epoch in which a training reached its goal, with its number."""
    numbered = ({"epoch": number, **epoch} for number, epoch in enumerate(row.get("epochs", []), 1))
    return next((epoch for epoch in numbered if epoch["accuracy"] >= goal.accuracy), None)


def _seconds(rows: Sequence[Row], goal: Goal, variant: str, kind: str) -> list[float]:
    ends = (_end(row, goal) for row in rows if row["variant"] == variant)
    return [end[kind] for end in ends if end is not None]


if __name__ == "__main__":
    main()
