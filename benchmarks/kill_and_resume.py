"""Kill training at random moments and resume it until it is done: are the final weights the same to the last bit?

    python benchmarks/kill_and_resume.py --kills 200

Small runs on the embedded digits, each of another kind (RBF loss, batch normalisation, dropout, averaging, momentum,
AdamW, clipping, early stopping). Each is trained once without interruption; then again and again in processes that are
killed with SIGKILL after a random time and resumed, until enough kills are counted. A checkpoint is written after every
step, so that many kills fall into the writing of one. Every survivor's last checkpoint, best weights and bundle weights
must equal the uninterrupted run's, bit for bit.
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

import numpy as np
import torch
from sklearn.datasets import load_digits

from striate.bundle import load, save_trained
from striate.data import LENET_DISTORTIONS
from striate.training import (
    LossOptions,
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


def recipes() -> dict[str, Recipe]:
    """Small recipes that between them use all that a checkpoint must hold."""
    base = named_recipe("digits").replace(epochs=2, batch_size=128)
    return {
        "LeNet-5, MAP loss, AdamW, average, distortions": base,
        "batch norm, dropout, Nesterov, clipping": base.replace(
            model=ModelOptions("convnet", {"blocks": [[1, 8, 1], [1, 16, 1]], "dropout": 0.5}),
            loss=LossOptions(label_smoothing=0.1),
            optimizer=OptimizerOptions("sgd", lr=0.1, nesterov=True, weight_decay=1e-3, clip_norm=1.0),
            schedule=ScheduleOptions("step", milestones=(1.0,)),
        ),
        "modern LeNet-5, constant rate, patience, no average": base.replace(
            model=ModelOptions("lenet5-modern"),
            loss=LossOptions(),
            optimizer=OptimizerOptions("adamw", lr=3e-3, clip_norm=5.0),
            schedule=ScheduleOptions("constant"),
            ema=0.0,
            patience=1,
            epochs=4,
            augmentation=LENET_DISTORTIONS,
        ),
    }


def go_on(recipe: Recipe, folder: Path) -> None:
    """Start or resume a run and take it as far as it goes."""
    if (folder / "run.json").is_file():
        trained = resume(folder, checkpoint_seconds=0.0)
    else:
        trained = fit(recipe, "digits", folder, threads=1, checkpoint_seconds=0.0)
    save_trained(trained)


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
    options.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = options.parse_args()
    torch.set_num_threads(1)  # a pool of threads here would not survive the forks
    load_digits()  # read before forking, so that a killed process was training, not starting
    random_time = random.Random(asked.seed)
    kills = runs = equal = 0
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        whole: dict[str, dict[str, np.ndarray]] = {}
        lasted: dict[str, float] = {}
        for kind, recipe in recipes().items():
            began = time.monotonic()
            if killed(600.0, lambda recipe=recipe: go_on(recipe, room / "whole")):
                sys.exit("the uninterrupted run did not finish")
            lasted[kind], whole[kind] = time.monotonic() - began, final_weights(room / "whole")
            shutil.rmtree(room / "whole")
        while kills < asked.kills:
            kind, recipe = list(recipes().items())[runs % len(whole)]
            while killed(
                random_time.uniform(0.0, 0.4 * lasted[kind]), lambda recipe=recipe: go_on(recipe, room / "killed")
            ):
                kills += 1
            runs += 1
            same_end = same(whole[kind], final_weights(room / "killed"))
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
