"""Kill training at random moments and resume it until it is done: are the final weights the same to the last bit?

    python benchmarks/kill_and_resume.py --kills 200
    python benchmarks/kill_and_resume.py --kills 60 --kind MixUp

Small runs on the embedded digits, each of another kind (RBF loss, batch normalisation, dropout, averaging, momentum,
AdamW, clipping, early stopping; MixUp, CutMix, bfloat16, steps in parts; weights to begin with, frozen layers, rates by
layer, weights of classes, balanced sampling). Each is trained once without interruption; then again and again in
processes that are killed with SIGKILL after a random time and resumed, until enough kills are counted. A checkpoint is
written after every step, so that many kills fall into the writing of one. Every survivor's last checkpoint, best
weights and bundle weights must equal the uninterrupted run's, bit for bit.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits

from striate.bundle import load, save_trained
from striate.data import LENET_DISTORTIONS
from striate.models import build
from striate.runtime import Precision, RuntimeOptions
from striate.training import (
    InitialWeights,
    LossOptions,
    MixingOptions,
    ModelOptions,
    OptimizerOptions,
    Recipe,
    Run,
    ScheduleOptions,
    fit,
    named_recipe,
    resume,
)
from striate.training import _checkpoint as checkpoints

CLOCK = {"seconds", "images_per_second", "memory_mib"}  # what is of the machine, not of the training


class Kind(NamedTuple):
    """What a run computes, and how."""

    recipe: Recipe
    precision: Precision = "high"
    pretrained: bool = False  # whether it begins with the weights of a network for other classes


NET = {"blocks": [[1, 8, 1], [1, 16, 1]], "dropout": 0.5}


def kinds() -> dict[str, Kind]:
    """Small recipes that between them use all that a checkpoint must hold."""
    base = named_recipe("digits").replace(epochs=2, batch_size=128)
    return {
        "LeNet-5, MAP loss, AdamW, average, distortions": Kind(base),
        "batch norm, dropout, Nesterov, clipping": Kind(
            base.replace(
                model=ModelOptions("convnet", NET),
                loss=LossOptions(label_smoothing=0.1),
                optimizer=OptimizerOptions("sgd", lr=0.1, nesterov=True, weight_decay=1e-3, clip_norm=1.0),
                schedule=ScheduleOptions("step", milestones=(1.0,)),
            )
        ),
        "modern LeNet-5, constant rate, patience, no average": Kind(
            base.replace(
                model=ModelOptions("lenet5-modern"),
                loss=LossOptions(),
                optimizer=OptimizerOptions("adamw", lr=3e-3, clip_norm=5.0),
                schedule=ScheduleOptions("constant"),
                ema=0.0,
                patience=1,
                epochs=4,
                augmentation=LENET_DISTORTIONS,
            )
        ),
        "MixUp, CutMix, average, bfloat16, steps in parts": Kind(
            base.replace(
                model=ModelOptions("convnet", NET),
                loss=LossOptions(label_smoothing=0.1),
                optimizer=OptimizerOptions("sgd", lr=0.05, nesterov=True, clip_norm=1.0),
                mixing=MixingOptions(mixup=0.2, cutmix=1.0),
                ema=0.99,
                micro_batch=48,
            ),
            precision="bf16",
        ),
        "weights to begin with, frozen layers, rates by layer, weights of classes, balanced sampling": Kind(
            base.replace(
                model=ModelOptions("convnet", NET),
                loss=LossOptions(class_weights="root"),
                optimizer=OptimizerOptions("adamw", lr=3e-3, layer_decay=0.5),
                sampling="balanced",
                freeze="1",
            ),
            pretrained=True,
        ),
    }


def go_on(kind: Kind, folder: Path) -> None:
    """Start or resume a run and take it as far as it goes."""
    if (folder / "run.json").is_file():
        trained = resume(folder, checkpoint_seconds=0.0)
    else:
        runtime = RuntimeOptions(precision=kind.precision, threads=1)
        weights = other_weights() if kind.pretrained else None
        trained = fit(kind.recipe, "digits", folder, runtime=runtime, weights=weights, checkpoint_seconds=0.0)
    save_trained(trained)


def other_weights() -> InitialWeights:
    """The same at each start: those of a network for seven classes."""
    torch.manual_seed(7)
    return InitialWeights.of_tensors("a network for seven classes", build("convnet", classes=7, **NET).state_dict())


def killed(seconds: float, work: Callable[[], None]) -> bool:
    """Do the work in a child process and kill it after so long; False if it was done before that.

    Raises SystemExit if the work failed by itself.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + seconds
    done, status = 0, 0
    while not done and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.001)
    if not done:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit("a run failed by itself")
    return False


def final_weights(folder: Path) -> dict[str, np.ndarray]:
    """Everything that a finished run leaves in weights."""
    run = Run.open(folder)
    last = checkpoints.latest(run.checkpoints)
    assert last is not None
    found = {f"last {name}": value.numpy() for name, value in last.tensors.items()}
    found |= {f"best {name}": value.numpy() for name, value in checkpoints.read(run.best).tensors.items()}
    found |= {f"bundle {name}": value.numpy() for name, value in load(run.bundle).model.state_dict().items()}
    rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in history(run)]
    found["metrics"] = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    return found


def history(run: Run) -> list[dict[str, float]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether two runs ended in the same bits."""
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() and a[k].shape == b[k].shape for k in a)


def main() -> None:
    """Count kills and equal ends; exit code 1 if any end differs."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--kind", default="", metavar="WORD", help="only the kinds whose name has this word")
    options.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = options.parse_args()
    torch.set_num_threads(1)  # a pool of threads here would not survive the forks
    load_digits()  # read before forking, so that a killed process was training, not starting
    random_time = random.Random(asked.seed)
    chosen = {name: kind for name, kind in kinds().items() if asked.kind in name}
    if not chosen:
        options.error(f"no kind has the word {asked.kind!r}; there are: {'; '.join(kinds())}")
    kills = runs = equal = 0
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        whole: dict[str, dict[str, np.ndarray]] = {}
        lasted: dict[str, float] = {}
        for title, kind in chosen.items():
            began = time.monotonic()
            if killed(600.0, lambda kind=kind: go_on(kind, room / "whole")):
                sys.exit("the uninterrupted run did not finish")
            lasted[title], whole[title] = time.monotonic() - began, final_weights(room / "whole")
            shutil.rmtree(room / "whole")
        while kills < asked.kills:
            title, kind = list(chosen.items())[runs % len(whole)]
            while killed(random_time.uniform(0.0, 0.4 * lasted[title]), lambda kind=kind: go_on(kind, room / "killed")):
                kills += 1
            runs += 1
            same_end = same(whole[title], final_weights(room / "killed"))
            equal += same_end
            print(f"{kills} kills, {runs} runs, {equal} bit-identical", file=sys.stderr, flush=True)
            shutil.rmtree(room / "killed")
    if asked.json:
        print(json.dumps({"kills": kills, "runs": runs, "bit_identical": equal}))
    else:
        print(f"{kills} kills in {runs} runs: {equal} of {runs} ends bit-identical to the uninterrupted run")
    sys.exit(0 if equal == runs else 1)


if __name__ == "__main__":
    main()
