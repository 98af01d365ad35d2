"""What a training run tells while it runs; whoever shows it decides how."""

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

    def note(self, text: str) -> None:
        """One sentence that a user should see."""

    def progress(self, done: int, total: int, what: str) -> None:
        """Some long work other than training is at `done` of `total`."""

    def step(self, step: Step) -> None:
        """A training step is done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch is done and measured; `row` is its line of metrics.jsonl."""
