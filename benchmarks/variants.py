"""What the benchmarks of whole networks share: a process for every measurement, shuffled rounds, medians and tables.

A benchmark plans its `Job`s, measures one where `--one` says so, and hands the rest to `in_rounds`. A variant named
"X again" is X measured once more as if it were another: the null control, which tells how far equal things differ.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sections import markdown_table

Step = Callable[[], object]
Row = dict[str, Any]

AGAIN = " again"
PATIENCE = 900.0  # seconds that one measurement may take, compiling included


class Job(NamedTuple):
    """What one process measures; `shared` below is a folder that all processes of a benchmark can use."""

    task: str  # "training" or "inference"
    network: str
    batch: int
    threads: int
    variant: str

    @property
    def way(self) -> str:
        """The variant's own name, also where it is measured again."""
        return self.variant.removesuffix(AGAIN)

    @classmethod
    def from_words(cls, words: Sequence[str]) -> "Job":
        """Make a job from its fields as text."""
        task, network, batch, threads, variant = words
        return cls(task, network, int(batch), int(threads), variant)

    def __str__(self) -> str:
        """Return the job in words."""
        return f"{self.task} {self.network} x {self.batch}, {self.threads} threads, {self.variant}"


def add_options(parser: argparse.ArgumentParser, networks: Iterable[str], *, rounds: int, minutes: float) -> None:
    """Give a benchmark the options that all of them have."""
    parser.add_argument("--networks", nargs="+", choices=sorted(networks), help="only these")
    parser.add_argument("--tasks", nargs="+", choices=("training", "inference"), default=["training", "inference"])
    parser.add_argument("--rounds", type=int, default=rounds, help="how often everything is measured, at most")
    parser.add_argument(
        "--minutes", type=float, default=minutes, help="a round that would end later is not begun (the first one is)"
    )
    parser.add_argument("--quick", action="store_true", help="for a look: one round of a few short measurements")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this page, a .json beside it")
    parser.add_argument(
        "--one", nargs="+", metavar="WORD", help=argparse.SUPPRESS
    )  # what the processes are called with


def in_rounds(
    script: str, jobs: Sequence[Job], rounds: int, minutes: float, words: Sequence[str] = ()
) -> dict[Job, list[Row]]:
    """Measure every job once a round, in another order each time; return what the rounds found, as far as they came.

    `words` are options that the processes get.
    """
    found: dict[Job, list[Row]] = {job: [] for job in jobs}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as shared:
        for turn in range(rounds):
            spent = (time.monotonic() - began) / 60
            if turn and spent * (turn + 1) / turn > minutes:
                print(f"{turn} rounds took {spent:.0f} of {minutes:g} minutes: no further one", flush=True)
                break
            for number, job in enumerate(random.Random(turn).sample(jobs, len(jobs)), 1):
                found[job].append(in_a_process(script, job, shared, words))
                done = turn * len(jobs) + number
                left = (time.monotonic() - began) / 60 * (rounds * len(jobs) / done - 1)
                print(f"{done}/{rounds * len(jobs)}, {left:.0f} min left: {job}: {found[job][-1]}", flush=True)
    return found


def in_a_process(script: str, job: Job, shared: str, words: Sequence[str] = ()) -> Row:
    """Measure in a fresh process; an "error" in place of the numbers where it fails."""
    cache = f"{shared}/compiled-{job.threads}"  # empty at first: the first round compiles
    return fresh(
        [script, *words, "--one", *map(str, job), shared], job.threads, PATIENCE, TORCHINDUCTOR_CACHE_DIR=cache
    )


def fresh(words: Sequence[str], threads: int, patience: float | None = None, **environment: str) -> Row:
    """Run a Python program in a fresh process; return its last line, JSON, or an "error" where it fails."""
    around = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore", **environment}
    command = [sys.executable, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=around, check=False, timeout=patience)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {patience:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    result: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def timed(step: Step, *, seconds: float = 2.0, fewest: int = 4) -> Row:
    """Return the medians of a step's time, the first step's seconds and the peak memory of the process so far.

    The first steps fault memory in and fill caches: a fifth of the seconds, two steps at least, are thrown away.
    """
    first = once(step)[0]
    warm = once(step)[0]
    while warm < seconds / 5:
        warm += once(step)[0]
    times: list[tuple[float, float]] = []
    while len(times) < fewest or sum(wall for wall, _ in times) < seconds:
        times.append(once(step))
    wall, cpu = (statistics.median(one[kind] for one in times) for kind in (0, 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"ms": round(1e3 * wall, 3), "cpu_ms": round(1e3 * cpu, 3), "first_s": round(first, 2), "mib": peak}


def once(step: Step) -> tuple[float, float]:
    """Take one step and return its seconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - cpu


def summary(job: Job, found: Sequence[Row]) -> Row:
    """Return the medians of the rounds, and the slowest round over the fastest."""
    row = job._asdict()
    good = [one for one in found if "ms" in one]
    if not good:
        return row | {"error": found[0]["error"]}
    times = [one["ms"] for one in good]
    row |= {key: statistics.median(one[key] for one in good) for key in ("ms", "cpu_ms")}
    row |= {"first_s": max(one["first_s"] for one in good)}  # the first round's, where nothing is kept yet
    row |= {"mib": statistics.median_low(one["mib"] for one in good)}
    return row | {"spread": round(max(times) / min(times), 2), "rounds": len(good), "off": good[0].get("off")}


def ratio(row: Row, rows: Sequence[Row], over: str) -> float | None:
    """Return how many times as fast as the variant `over` a row is, None where one of the two was not measured."""
    same = ("task", "network", "batch", "threads")
    times = [r["ms"] for r in rows if r["variant"] == over and "ms" in r and all(r[key] == row[key] for key in same)]
    return times[0] / row["ms"] if times and "ms" in row else None


_COLUMNS: dict[str, Callable[[Row, Sequence[Row]], str]] = {
    "network": lambda row, _: f"`{row['network']}`",
    "batch": lambda row, _: str(row["batch"]),
    "threads": lambda row, _: str(row["threads"]),
    "variant": lambda row, _: row["variant"],
    "ms": lambda row, _: f"{row['ms']:.{1 if row['ms'] >= 20 else 2}f}",
    "CPU ms": lambda row, _: f"{row['cpu_ms']:.{1 if row['cpu_ms'] >= 20 else 2}f}",
    "pictures/s": lambda row, _: f"{1e3 * row['batch'] / row['ms']:,.0f}",
    "pytorch / this": lambda row, rows: number(ratio(row, rows, "pytorch")),
    "slowest / fastest round": lambda row, _: f"{row['spread']:.2f}",
    "first step s": lambda row, _: f"{row['first_s']:.1f}",
    "peak MiB": lambda row, _: str(row["mib"]),
    "error against float64": lambda row, _: "" if row["off"] is None else f"{row['off']:.0e}",
}
_NAMES = ("network", "batch", "threads", "variant")


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return a Markdown table, a line for each row; where nothing could be measured it says why."""
    names = [name for name in columns if name in _NAMES]
    body = []
    for row in rows:
        shown = names if "error" in row else columns
        cells = [_COLUMNS[name](row, rows) for name in shown]
        if "error" in row:
            cells += [row["error"].replace("|", "/"), *[""] * (len(columns) - len(names) - 1)]
        body.append(cells)
    return markdown_table(list(columns), body, right=len(names))


def comparison(rows: Sequence[Row], pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> str:
    """Return a table of how many times as fast one variant is as another, a line for each load, a column for each pair.

    `names` are the columns that say which load it is.
    """
    measured = {row["variant"] for row in rows}
    pairs = [pair for pair in pairs if measured.issuperset(pair)]
    loads = {tuple(row[name] for name in names): row for row in rows}
    body = []
    for load, row in loads.items():
        same = [r for r in rows if tuple(r[name] for name in names) == load]
        cells = [next((number(ratio(r, same, slow)) for r in same if r["variant"] == fast), "") for fast, slow in pairs]
        body.append([_COLUMNS[name](row, rows) for name in names] + cells)
    return markdown_table([*names, *(f"{fast} over {slow}" for fast, slow in pairs)], body, right=len(names))


def noise(rows: Sequence[Row]) -> str:
    """Say how far variants that were measured as two differ, and how far the rounds of one lie apart."""
    twice = [(row, ratio(row, rows, row["variant"].removesuffix(AGAIN))) for row in rows if AGAIN in row["variant"]]
    apart = [max(found, 1 / found) for _, found in twice if found]
    spreads = sorted(row["spread"] for row in rows if "spread" in row)
    parts = []
    if apart:
        parts.append(f"what is the same and was measured as two differs by factors of up to {max(apart):.2f}")
    if spreads and max(row.get("rounds", 0) for row in rows) > 1:
        middle = statistics.median(spreads)
        parts.append(f"the slowest round of a variant is {middle:.2f} times its fastest in the median")
    return "Null control: " + ("; ".join(parts) or "none was measured") + "."


def number(value: float | None) -> str:
    """Return a ratio with two places, nothing for none."""
    return "" if value is None else f"{value:.2f}"
