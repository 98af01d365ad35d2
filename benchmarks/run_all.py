"""All measurements of speed, one after the other, into the pages that show them.

    python benchmarks/run_all.py

Each benchmark is a process that writes its section of docs/performance.md (operators: docs/judged.md) and its entry of
the .json beside it, with the machine and the versions. One that fails does not keep the others from running; it is
named at the end, and the exit code is 1. Nothing else should run on the machine meanwhile: it takes about an hour and a
half on two cores. `--quick` only looks whether all of them run: a few minutes, nothing is written unless --write says
where. Trainings to an accuracy need real data: they are run where --data-root gives the folder of it, and take hours.
What needs a GPU is not among them (benchmarks/gpu.py), nor what needs finished runs (benchmarks/prepared_accuracy.py).
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs"


class Measurement(NamedTuple):
    """A benchmark: its script, the minutes it takes on two quiet cores, its page, what makes it short."""

    script: str
    minutes: float
    quick: tuple[str, ...] = ("--quick",)
    page: str = "performance.md"
    data: bool = False  # it needs the folder of real data


ALL = (
    Measurement("start_up", 4),
    Measurement("native_kernels", 1, ("--only", "scaled_tanh")),
    Measurement("runtime_memory", 3, ("--steps", "1", "--processes", "1")),
    Measurement("operators", 5, page="judged.md"),
    Measurement("loading", 15, ("--files", "64", "--rounds", "1")),
    Measurement("small_networks", 30),
    Measurement("networks", 40),
    Measurement("time_to_accuracy", 180, data=True),
    Measurement("precision_and_accuracy", 240, data=True),
)


def main() -> None:
    """Run what is asked for; exit code 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [each.script for each in ALL]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="for a look: does everything run?")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="of the pages; default: docs, none with --quick")
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="with MNIST, Fashion-MNIST and CIFAR-10")
    asked = parser.parse_args()
    pages = asked.write or (None if asked.quick else PAGES)
    failed = run(planned(asked.only, asked.data_root), pages, asked.data_root, quick=asked.quick)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def planned(only: Sequence[str] | None, data_root: Path | None) -> list[Measurement]:
    """Return what is to be run; raises SystemExit if data is needed and not given."""
    if only and data_root is None and any(each.data and each.script in only for each in ALL):
        raise SystemExit("run_all: trainings to an accuracy need --data-root, a folder with the data sets")
    return [each for each in ALL if (not only or each.script in only) and (data_root or not each.data)]


def run(plan: Sequence[Measurement], pages: Path | None, data_root: Path | None, *, quick: bool) -> list[str]:
    """Run the benchmarks in their order; return the names of those that failed."""
    failed, began = [], time.monotonic()
    for number, each in enumerate(plan, 1):
        left = sum(other.minutes for other in plan[number - 1 :])
        rest = "" if quick else f", {each.minutes:g} min of the {left:g} that are left"
        print(f"\n== {number}/{len(plan)} {each.script}{rest}", flush=True)
        if subprocess.run(command(each, pages, data_root, quick=quick), check=False).returncode:
            failed.append(each.script)
    print(f"\n{len(plan) - len(failed)} of {len(plan)} done in {(time.monotonic() - began) / 60:.0f} min", flush=True)
    return failed


def command(each: Measurement, pages: Path | None, data_root: Path | None, *, quick: bool) -> list[str]:
    """Return a benchmark's command line."""
    words = list(each.quick) if quick else []
    words += ["--write", str(pages / each.page)] if pages else []
    words += ["--data-root", str(data_root)] if each.data else []
    return [sys.executable, str(HERE / f"{each.script}.py"), *words]


if __name__ == "__main__":
    main()
