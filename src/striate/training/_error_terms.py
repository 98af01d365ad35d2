"""The error terms of a run's layers, epoch by epoch: `error_terms.jsonl`."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from striate.files import read_lines, write_text
from striate.insight import ErrorTerm

PICTURES = 64  # measured on so many pictures of the training split, the same in every epoch


class ErrorTermLog:
    """A line for each finished epoch and one, epoch 0, for the weights that training began with."""

    def __init__(self, path: Path, epochs_done: int, *, writes: bool = True) -> None:
        self.path = path
        self.rows = [row for row in read_lines(path) if row.get("epoch", math.inf) <= epochs_done]
        if writes and path.is_file():
            self._write()  # without what came after the checkpoint that training goes on from

    def has(self, epoch: int) -> bool:
        """Whether the epoch's line is there."""
        return any(row["epoch"] == epoch for row in self.rows)

    def add(self, epoch: int, terms: Sequence[ErrorTerm]) -> dict[str, Any]:
        """Write the epoch's line and return it: a list per value, None where a value is no finite number."""
        columns = {name: [_finite(getattr(term, name)) for term in terms] for name in ("error", "gradient", "dead")}
        row = {"epoch": epoch, "layers": [term.layer for term in terms], **columns}
        self.rows.append(row)
        self._write()
        return row

    def _write(self) -> None:
        write_text(self.path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows))


def _finite(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
