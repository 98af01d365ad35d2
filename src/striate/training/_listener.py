"""What a training run tells while it runs; whoever shows it decides how."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Step(NamedTuple):
    """Where a run stands after a step; loss and accuracy are means over the epoch so far."""

    epoch: int  # counted from 1
    epochs: int
    batch: int  # counted from 1
    batches: int
    loss: float
    accuracy: float
    lr: float
    images_per_second: float
    seconds_left: float


class Listener:
    """Hears what happens in a run and does nothing with it; override what you want to show."""

    def begin(self, folder: Path, history: Sequence[dict[str, Any]], error_terms: Sequence[dict[str, Any]]) -> None:
        """Training begins or goes on in a run folder; what it did before: lines of metrics and error_terms.jsonl."""

    def note(self, text: str) -> None:
        """One sentence that a user should see."""

    def progress(self, done: int, total: int, what: str) -> None:
        """Some long work other than training is at `done` of `total`."""

    def step(self, step: Step) -> None:
        """A training step is done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch is done and measured; `row` is its line of metrics.jsonl."""

    def error_terms(self, row: dict[str, Any]) -> None:
        """The error terms of the layers were measured; `row` is its line of error_terms.jsonl."""


class Listeners(Listener):
    """Several listeners; each hears everything, in their order."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    def begin(self, folder: Path, history: Sequence[dict[str, Any]], error_terms: Sequence[dict[str, Any]]) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.begin(folder, history, error_terms)

    def note(self, text: str) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.note(text)

    def progress(self, done: int, total: int, what: str) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.progress(done, total, what)

    def step(self, step: Step) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.step(step)

    def epoch(self, row: dict[str, Any]) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.epoch(row)

    def error_terms(self, row: dict[str, Any]) -> None:
        """Tell all."""
        for listener in self.listeners:
            listener.error_terms(row)
