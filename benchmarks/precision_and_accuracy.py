"""Does a training reach the same accuracy in every precision? The same recipes and seeds in "exact", "high" and "bf16".

    python benchmarks/precision_and_accuracy.py --data-root FOLDER --write docs/performance.md

The trainings of `time_to_accuracy.py`, each to its recipe's end and then judged once on the test split, in a process of
its own. Shown are the mean accuracy over the seeds with the extremes, how far it is from that of "exact" beside what
two standard errors of such a difference are, and the processor's time.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sections import machine, markdown_table, versions, write_record, write_section
from time_to_accuracy import GOALS, Goal, add_options, goal_of, shortened, spread, trainings
from variants import Row

from striate.runtime import PRECISIONS, Precision, RuntimeOptions
from striate.training import fit


def main() -> None:
    """Train, print the table, write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    asked = parser.parse_args()
    if asked.one:
        precision, name, seed = asked.one
        goal = shortened(goal_of(name), quick=asked.quick, epochs=asked.epochs)
        print(json.dumps(train(precision, goal, int(seed), asked.data_root, asked.threads)))
        return
    found = trainings(__file__, asked, PRECISIONS)
    print(text := report(found))
    if asked.write:
        write_section(asked.write, "precision", text)
        write_record(asked.write, "precision", {"trainings": found}, "torch")


def train(precision: Precision, goal: Goal, seed: int, root: Path, threads: int) -> Row:
    """Train to the end; return how many of the test pictures are right, and the processor's seconds."""
    began = time.process_time()
    options = RuntimeOptions(precision=precision, threads=threads)
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        trained = fit(goal.recipe.replace(seed=seed), goal.data, run, data_root=root, runtime=options)
    judged = trained.evaluation
    return {"correct": judged.correct, "total": judged.total, "cpu": round(time.process_time() - began, 2)}


def report(found: Sequence[Row]) -> str:
    """Return the table: a line for each set and precision."""
    body = []
    for goal in GOALS:
        own = {
            p: [row for row in found if row["data"] == goal.data and row["variant"] == p and "total" in row]
            for p in PRECISIONS
        }
        shares = {p: [100 * row["correct"] / row["total"] for row in rows] for p, rows in own.items()}
        for precision, values in shares.items():
            if not values:
                continue
            mean = f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            apart = difference(values, shares["exact"]) if precision != "exact" else ""
            cpu = spread([row["cpu"] for row in own[precision]], "{:.0f}")
            body.append([f"{goal.data}, {goal.recipe.model.name}", precision, str(len(values)), mean, apart, cpu])
    head = ["training", "precision", "seeds", "test accuracy, %", "minus that of exact", "processor's s"]
    errors = "".join(f"\n\n{row['variant']}, {row['data']}: {row['error']}" for row in found if "error" in row)
    return f"{machine()}; {versions('torch')}.\n\n{markdown_table(head, body, right=2)}{errors}"


def difference(values: Sequence[float], base: Sequence[float]) -> str:
    """Return by how much the means differ, and two standard errors of the difference where there are seeds enough."""
    if not base:
        return ""
    apart = f"{statistics.mean(values) - statistics.mean(base):+.2f}"
    if min(len(values), len(base)) < 2:
        return apart
    error = math.sqrt(statistics.variance(values) / len(values) + statistics.variance(base) / len(base))
    return f"{apart} (2 s.e. {2 * error:.2f})"


if __name__ == "__main__":
    main()
