"""How training is shown: a live line in a terminal, plain lines elsewhere. Everything goes to standard error."""

import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from striate.evaluation import duration
from striate.training import Listener, Step

if TYPE_CHECKING:
    from types import TracebackType

PLAIN_SECONDS = 10.0  # between plain lines within an epoch
LIVE_SECONDS = 0.1
_BAR = 6, 24  # the narrowest and the widest bar
_WORDS = 74  # columns that the words beside the bar usually take


class Show(Listener):
    """A listener that is open while something runs: `with show() as listener: ...`."""

    def __enter__(self) -> "Show":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        """Nothing to close."""


class _Pace:
    """How fast something goes: "120 of 4,317, 840/s, 5 s left"."""

    def __init__(self) -> None:
        self.what, self.began, self.first = "", 0.0, 0

    def __call__(self, done: int, total: int, what: str) -> str:
        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.first = what, now, done
        if done <= self.first or now <= self.began:
            return f"{done:,} of {total:,}"
        rate = (done - self.first) / (now - self.began)
        return f"{done:,} of {total:,}, {rate:,.0f}/s, {duration((total - done) / rate)} left"


class Plain(Show):
    """Plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.pace = _Pace()

    def note(self, text: str) -> None:
        """Print the sentence."""
        _say(text)

    def progress(self, done: int, total: int, what: str) -> None:
        """Print a line now and then."""
        pace = self.pace(done, total, what)
        if time.monotonic() - self.last >= PLAIN_SECONDS:
            self.last = time.monotonic()
            _say(f"{what} {pace}")

    def step(self, step: Step) -> None:
        """Print a line now and then."""
        if time.monotonic() - self.last >= PLAIN_SECONDS:
            self.last = time.monotonic()
            _say(f"epoch {step.epoch}/{step.epochs}, batch {step.batch}/{step.batches}: {_running(step)}")

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the epoch's line."""
        self.last = time.monotonic()
        _say(summary(row))


class Live(Show):
    """A progress bar with rate, loss, accuracy and time left; finished epochs scroll by above it."""

    def __init__(self, console: Console) -> None:
        self.width = max(_BAR[0], min(_BAR[1], console.width - _WORDS))
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=self.width),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[running]}"),
            console=console,
            transient=True,
        )
        self.task: TaskID | None = None
        self.what = ""
        self.last = 0.0
        self.pace = _Pace()

    def __enter__(self) -> "Live":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        """Take the bar away."""
        self.bar.stop()

    def note(self, text: str) -> None:
        """Print the sentence above the bar."""
        self.bar.console.print(text, highlight=False, markup=False)

    def progress(self, done: int, total: int, what: str) -> None:
        """Move a bar of its own name."""
        self._move(what, done, total, self.pace(done, total, what), rest=done < total)

    def step(self, step: Step) -> None:
        """Move the training's bar."""
        done, total = (step.epoch - 1) * step.batches + step.batch, step.epochs * step.batches
        name = f"epoch {step.epoch}/{step.epochs}"
        room = self.bar.console.width - len(name) - self.width - len(" 100 % ") - 1
        self._move("training", done, total, _running(step, room), rest=True, name=name)

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the epoch's line above the bar, with fewer words where it would not fit."""
        line = summary(row)
        narrow = len(line) > self.bar.console.width
        self.note(line.replace(" loss", "").replace(" acc", "") if narrow else line)

    def _move(self, what: str, done: int, total: int, running: str, *, rest: bool, name: str = "") -> None:
        if self.task is None or what != self.what:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task, self.what = self.bar.add_task(what, total=total, running=""), what
        elif rest and time.monotonic() - self.last < LIVE_SECONDS:
            return
        self.last = time.monotonic()
        self.bar.update(self.task, completed=done, total=total, running=running, description=name or what)


def show() -> Show:
    """Return the way of showing that fits standard error."""
    console = Console(stderr=True)
    return Live(console) if console.is_terminal else Plain()


def summary(row: dict[str, Any]) -> str:
    """Write an epoch's line of metrics.jsonl for a person."""
    train, val = (
        f"{part} loss {row[f'{part}_loss']:.4f} acc {100 * row[f'{part}_accuracy']:6.2f} %" for part in ("train", "val")
    )
    if "val_miou" in row:
        val += f" mIoU {100 * row['val_miou']:5.2f} %"
    return f"epoch {row['epoch']:>3}  {train}  {val}  {row['seconds']:.1f} s  {row['images_per_second']:,.0f} img/s"


def _running(step: Step, room: int = 1000) -> str:
    """Say how training goes; what matters least is left out where there is no room."""
    loss, accuracy = f"loss {step.loss:.4f}", f"acc {100 * step.accuracy:.1f} %"
    rate, left = f"{step.images_per_second:,.0f} img/s", f"{duration(step.seconds_left)} left"
    ways = ((loss, accuracy, rate, left), (loss, accuracy, left), (loss, left))
    return next((text for way in ways if len(text := "  ".join(way)) <= room), left)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
