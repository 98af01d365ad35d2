"""TensorBoard's event files, in the folder `tensorboard` of a run."""

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from striate.errors import StriateError
from striate.training._listener import Listener

FOLDER = "tensorboard"
_NO_SCALARS = {"epoch", "step"}


class TensorBoard(Listener):
    """Writes the lines of metrics.jsonl and error_terms.jsonl as TensorBoard scalars, one point an epoch.

    When a run goes on, the file is written anew from the lines that it has, so no epoch is there twice. Raises
    StriateError if the library tensorboardX is not installed.
    """

    def __init__(self) -> None:
        try:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog
        except ImportError as error:
            raise StriateError(
                "TensorBoard files need the library tensorboardX: pip install 'striate[tensorboard]', "
                "or train without --tensorboard"
            ) from error
        # not its SummaryWriter: that writes from another thread and cannot be waited for
        self.open, self.event, self.log = EventsWriter, Event, SessionLog
        self.writer: Any = None

    def begin(self, folder: Path, history: Sequence[dict[str, Any]], error_terms: Sequence[dict[str, Any]]) -> None:
        """Begin the file anew with what the run has done so far."""
        try:
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
            (folder / FOLDER).mkdir()
            self.writer = self.open(str(folder / FOLDER / "events"))
        except OSError as error:
            raise StriateError(f"{folder / FOLDER} cannot be written ({error.strerror or error})") from error
        start = self.log(status=self.log.START)  # an open TensorBoard forgets what it read of the file before
        self.writer.write_event(self.event(wall_time=time.time(), step=0, session_log=start))
        for row in history:
            self._add(row["epoch"], _metrics(row))
        for row in error_terms:
            self._add(row["epoch"], _layers(row))
        self.writer.flush()

    def epoch(self, row: dict[str, Any]) -> None:
        """Write the epoch's measures."""
        self._add(row["epoch"], _metrics(row))
        self.writer.flush()

    def error_terms(self, row: dict[str, Any]) -> None:
        """Write the epoch's error terms, three values for each layer."""
        self._add(row["epoch"], _layers(row))
        self.writer.flush()

    def _add(self, epoch: int, scalars: dict[str, float]) -> None:
        event = self.event(wall_time=time.time(), step=epoch)
        for tag, value in scalars.items():
            event.summary.value.add(tag=tag, simple_value=value)
        self.writer.write_event(event)


def _metrics(row: dict[str, Any]) -> dict[str, float]:
    """Tags and values: train_loss becomes loss/train, so that TensorBoard shows it beside loss/val."""
    found = {}
    for key, value in row.items():
        if key in _NO_SCALARS or isinstance(value, bool | str) or not _is_number(value):
            continue
        part, _, what = key.partition("_")
        found[f"{what}/{part}" if part in {"train", "val"} and what else f"run/{key}"] = float(value)
    return found


def _layers(row: dict[str, Any]) -> dict[str, float]:
    return {
        f"{what}/{layer}": value
        for what in ("error", "gradient", "dead")
        for layer, value in zip(row["layers"], row[what], strict=True)
        if _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
