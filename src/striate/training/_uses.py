"""Each use of the test split, in `tests.jsonl`: who looks often enough chooses by it, even without meaning to."""

import json
from pathlib import Path
from typing import NamedTuple

from striate.files import append_line, read_lines
from striate.training._run import TESTS, now


class Use(NamedTuple):
    """One evaluation on a test split: when, by what, on which data, of which weights, with which result."""

    when: str  # UTC
    command: str
    data: str
    own: bool  # whether it is the test split that was set aside when the run began
    weights: str
    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """The part that was right, 0..1."""
        return self.correct / self.total


def log_use(folder: Path, use: Use) -> None:
    """Add a line to the run's `tests.jsonl`, before anybody sees the result; raises StriateError if it cannot."""
    append_line(folder / TESTS, json.dumps({**use._asdict(), "accuracy": use.accuracy}, ensure_ascii=False))


def uses(folder: Path) -> list[Use]:
    """Return the uses of a test split that the run's folder knows of, the oldest first."""
    rows = [row for row in read_lines(folder / TESTS) if row.keys() >= set(Use._fields) and row["total"]]
    return [Use(**{name: row[name] for name in Use._fields}) for row in rows]


def evaluated(command: str, data: str, weights: str, correct: int, total: int, *, own: bool) -> Use:
    """Return the use that takes place now."""
    return Use(now(), command, data, own, weights, correct, total)
