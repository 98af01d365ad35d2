"""What a training was expected to take and what it took: `forecast.json`."""

import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from striate.evaluation import duration
from striate.files import write_json


@dataclass(frozen=True)
class Forecast:
    """What a training will take; times in seconds, sizes in MiB, None for what is not known here."""

    made: str  # when, in local time
    epochs: int
    epoch_seconds: float  # steps, validation, error terms and the checkpoints in between
    between_seconds: float  # the part of it that is not steps
    after_seconds: float  # measuring the finished model
    memory_mib: float | None  # the most in use at once, as in metrics.jsonl: the whole process, or PyTorch's on a GPU
    disk_mib: float
    free_mib: float | None  # where the run's folder is
    timed_steps: int
    spent_seconds: float  # on the forecast itself

    @property
    def seconds(self) -> float:
        """The whole run."""
        return self.epochs * self.epoch_seconds + self.after_seconds

    @property
    def ends(self) -> datetime.datetime:
        """When the run ends if it begins at once, in local time."""
        return datetime.datetime.fromisoformat(self.made) + datetime.timedelta(seconds=self.seconds)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**asdict(self), "seconds": round(self.seconds, 3), "ends": self.ends.isoformat(timespec="seconds")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Forecast":
        """Make a forecast from `to_json`'s dictionary; raises KeyError for a value that is missing."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def as_text(self) -> str:
        """Say it in one line."""
        memory = "" if self.memory_mib is None else f"; memory {size(self.memory_mib)}"
        free = "" if self.free_mib is None else f" of {size(self.free_mib)} free"
        until = clock_time(self.ends, datetime.datetime.fromisoformat(self.made))
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return (
            f"forecast: {duration(self.seconds)} ({epochs} of {duration(self.epoch_seconds)}), until about "
            f"{until}{memory}; disk {size(self.disk_mib)}{free}"
        )


class Taken(NamedTuple):
    """What a training took in the end."""

    seconds: float
    epochs: int
    memory_mib: float | None

    def beside(self, forecast: Forecast) -> str:
        """Say it beside the forecast, for as many epochs as there were."""
        expected = self.epochs * forecast.epoch_seconds + forecast.after_seconds
        early = "" if self.epochs == forecast.epochs else f" for {self.epochs} of {forecast.epochs} epochs"
        text = f"forecast {duration(expected)}{early}, took {duration(self.seconds)}"
        if forecast.memory_mib is None or self.memory_mib is None:
            return text
        return f"{text}; memory forecast {size(forecast.memory_mib)}, was {size(self.memory_mib)}"


def read_forecast(path: Path) -> tuple[Forecast, Taken | None] | None:
    """Return what a run's forecast.json says; None if there is none or it cannot be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        taken = values.get("taken")
        return Forecast.from_json(values), None if taken is None else Taken(**taken)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def note_taken(path: Path, seconds: float, history: Sequence[dict[str, Any]]) -> str | None:
    """Add what a finished training took to its forecast; return the comparison, None where nothing was foreseen."""
    if (known := read_forecast(path)) is None:
        return None
    forecast, _ = known
    peaks = [row["memory_mib"] for row in history if row.get("memory_mib") is not None]
    taken = Taken(round(seconds, 3), len(history), max(peaks, default=None))
    write_json(path, {**forecast.to_json(), "taken": taken._asdict()})
    return taken.beside(forecast)


def size(mib: float) -> str:
    """Write a size for a person."""
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def clock_time(when: datetime.datetime, seen: datetime.datetime) -> str:
    """Write a time of day, with the day if it is another one than that on which it is seen."""
    return f"{when:%H:%M}" if when.date() == seen.date() else f"{when:%a %d %b %H:%M}"
