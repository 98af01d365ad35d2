"""Do prepared networks say the same of real pictures as the networks that were trained? Each run, in each precision.

    python benchmarks/prepared_accuracy.py DATA RUN [RUN ...] --data-root FOLDER --write docs/performance.md

DATA is what the runs were trained on, a known set or a folder; they are judged on its test split, as `striate evaluate`
takes it. "pytorch" is the trained network as it is, in float32; "pytorch bf16" the same under autocast; "striate" and
"striate bf16" are it prepared (`striate.bundle.prepare`). Shown are how many pictures each puts into their class, how
many it puts where "pytorch" puts them, and how far its logits are from those of "pytorch": the root mean square, of the
largest. Several runs (seeds) of a network make one row: the mean, and the extremes.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from sections import machine, markdown_table, versions, write_record, write_section
from variants import Row

from striate.bundle import Bundle, load, prepare
from striate.data import DataOptions, ImageSplit, open_for_evaluation
from striate.evaluation import predict_logits
from striate.training import Recipe


class Autocast(nn.Module):
    """A network as PyTorch's autocast computes it in bfloat16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = self.network(x)
        return logits


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "pytorch": lambda model: model,
    "pytorch bf16": Autocast,
    "striate": prepare,
    "striate bf16": lambda model: prepare(model, "bf16"),
}


def main() -> None:
    """Judge, print the table, write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="what the runs were trained on")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders or bundles")
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="where a known set's files are")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, a .json beside it")
    asked = parser.parse_args()
    found = [row for run in asked.runs for row in judged(run, asked.data, asked.data_root)]
    print(text := report(found, asked.data))
    if asked.write:
        write_section(asked.write, "prepared", text)
        write_record(asked.write, "prepared", {"data": asked.data, "rows": found}, "torch")


def judged(run: Path, data: str, root: Path | None) -> list[Row]:
    """Return a row for each way of computing a run's network on the test split."""
    bundle = load(run / "model.striate" if run.is_dir() else run)
    images = set_aside(bundle, data, root)
    rows: list[Row] = []
    logits = {way: predict_logits(make(bundle.model), images, bundle.preprocessing) for way, make in WAYS.items()}
    plain = logits["pytorch"]
    for way, own in logits.items():
        rows.append(
            {
                "network": bundle.model_name,
                "way": way,
                "total": len(own),
                "right": int((own.argmax(1) == images.labels).sum()),
                "same": int((own.argmax(1) == plain.argmax(1)).sum()),
                "off": float(np.sqrt(np.square(own - plain).mean()) / np.abs(plain).max()),
            }
        )
        print(f"{run}: {rows[-1]}", flush=True)
    return rows


def set_aside(bundle: Bundle, data: str, root: Path | None) -> ImageSplit:
    """Return the test split as it was divided when the bundle's network was trained."""
    recipe = Recipe.from_json(bundle.provenance["recipe"]) if "recipe" in bundle.provenance else None
    opened = open_for_evaluation(
        data,
        bundle.preprocessing,
        bundle.classes,
        split="test",
        seed=recipe.seed if recipe else 0,
        options=recipe.data if recipe else DataOptions(),
        trained_on=bundle.provenance.get("fingerprint"),
        data_root=root,
    )
    return opened.splits["test"]


def report(rows: Sequence[Row], data: str) -> str:
    """Return the table: a line for each network and way."""
    body = []
    for network in dict.fromkeys(row["network"] for row in rows):
        for way in WAYS:
            own = [row for row in rows if row["network"] == network and row["way"] == way]
            right, same = ([100 * row[key] / row["total"] for row in own] for key in ("right", "same"))
            cells = [f"`{network}`", way, str(len(own)), str(own[0]["total"]), spread(right), spread(same)]
            body.append([*cells, f"{statistics.mean(row['off'] for row in own):.1e}"])
    head = ["network", "way", "runs", "pictures", "right, %", "class of pytorch, %", "logits' error"]
    return f"{Path(data).name}; {machine()}; {versions('torch')}.\n\n{markdown_table(head, body, right=2)}"


def spread(values: Sequence[float]) -> str:
    """Return the mean, and the extremes of several values."""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
