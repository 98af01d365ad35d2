"""Train on a folder of photographs with no flag, and with a plain PyTorch script in the same time: who is right more?

    python benchmarks/photos_against_plain_torch.py FOLDER --seeds 0 1 2

`striate train FOLDER` and `plain_photos.py` (ResNet-18 with the settings of torchvision's references, pictures of
`--sizes`) learn from the same files and are measured on the same test files; both start from nothing. Time is CPU time
on one thread each, so that other programs on the machine take nothing from either: the plain script gets what `striate
train` took from the command to the prompt (reading, validation, evaluation, report and bundle included), for training
alone. With `--seconds` it gets so many, and both run at the same time. Written for Linux and macOS.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from striate.data import open_data
from striate.evaluation._evaluation import wilson
from striate.training import default_recipe

PLAIN = Path(__file__).with_name("plain_photos.py")


class Result(NamedTuple):
    """How many of the test pictures one training got right, and the CPU seconds that it took."""

    who: str
    seed: int
    correct: int
    total: int
    epochs: float
    seconds: float

    def line(self) -> str:
        """Return a row of the table."""
        low, high = wilson(self.correct, self.total)
        share = f"{100 * self.correct / self.total:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        rest = f"{self.correct} of {self.total} | {self.epochs:g} | {self.seconds / 60:.1f} min"
        return f"| {self.who} | {self.seed} | {share} | {rest} |"


def main() -> None:
    """Train both with each seed and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[224], help="what the plain script crops to")
    parser.add_argument("--seconds", type=float, help="CPU time of the plain script; default: what Striate took")
    parser.add_argument("--set", dest="settings", nargs="*", default=[], help="settings for `striate train`, to try it")
    parser.add_argument("--keep", type=Path, help="leave the runs and logs in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        place = arguments.keep or Path(room)
        place.mkdir(parents=True, exist_ok=True)
        results = [result for seed in arguments.seeds for result in compare(arguments, seed, place)]
    print("| | seed | test accuracy (95 %) | right | epochs | CPU time |", "|---|---|---|---|---|---|", sep="\n")
    print(*(result.line() for result in results), sep="\n")


def compare(arguments: argparse.Namespace, seed: int, place: Path) -> list[Result]:
    """Train both on the split of a seed: one after the other, or at the same time if the time is given."""
    split = place / f"split-{seed}.json"
    split.write_text(json.dumps(divided(arguments.folder, arguments.settings, seed)))
    with ThreadPoolExecutor(1) as beside:
        striate = beside.submit(train_striate, arguments.folder, arguments.settings, seed, place / f"striate-{seed}")
        seconds = arguments.seconds or striate.result().seconds
        plain = [train_plain(split, seconds, size, seed, place) for size in arguments.sizes]
        return [striate.result(), *plain]


def divided(folder: Path, settings: list[str], seed: int) -> dict[str, Any]:
    """Return the classes and the files of the training and test splits, as `striate train` divides them."""
    recipe = default_recipe(str(folder)).set([*settings, f"seed={seed}"])
    data = open_data(folder, recipe.data, seed=seed)
    files = {
        name: [[str(folder / file), int(label)] for file, label in zip(split.ids, split.labels, strict=True)]
        for name, split in data.splits.items()
        if name != "val"
    }
    return {"classes": list(data.classes.names), **files}


def train_striate(folder: Path, settings: list[str], seed: int, run: Path) -> Result:
    """Run `striate train` and read what it measured on the test split."""
    command = [sys.executable, "-m", "striate", "train", str(folder), "--threads", "1", "--seed", str(seed)]
    command += ["--out", str(run), *(word for setting in settings for word in ("--set", setting))]
    seconds = cpu_seconds(command, run.with_suffix(".log"))
    measured = json.loads((run / "evaluation.json").read_text())
    epochs = len((run / "metrics.jsonl").read_text().splitlines())
    return Result("`striate train FOLDER`", seed, measured["correct"], measured["total"], epochs, seconds)


def train_plain(split: Path, seconds: float, size: int, seed: int, place: Path) -> Result:
    """Run the plain script for so many seconds."""
    log = place / f"plain-{size}-{seed}.log"
    command = [sys.executable, str(PLAIN), str(split), "--seconds", str(seconds), "--size", str(size)]
    cpu_seconds([*command, "--seed", str(seed)], log)
    found = json.loads(log.read_text().splitlines()[-1])
    name = f"plain PyTorch, ResNet-18, {size} x {size}"
    return Result(name, seed, found["correct"], found["total"], found["epochs"], found["seconds"])


def cpu_seconds(command: list[str], log: Path) -> float:
    """Run a command on one thread, its output to a file; return the CPU time that it took."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed, see {log}:\n{log.read_text()[-2000:]}")
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
