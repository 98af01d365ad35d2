"""TensorBoard's event files, in the folder `tensorboard` of a run."""

import math
import shutil
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
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise StriateError(
                "TensorBoard files need the library tensorboardX: pip install 'striate[tensorboard]', "
                "or train without --tensorboard"
            ) from error
        self.make: Any = SummaryWriter
        self.writer: Any = None

    def begin(self, folder: Path, history: Sequence[dict[str, Any]], error_terms: Sequence[dict[str, Any]]) -> None:
        """Begin the file anew with what the run has done so far."""
        try:
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
            self.writer = self.make(logdir=str(folder / FOLDER), purge_step=0)  # an open TensorBoard forgets the rest
        except OSError as error:
            raise StriateError(f"{folder / FOLDER} cannot be written ({error.strerror or error})") from error
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
        for tag, value in scalars.items():
            self.writer.add_scalar(tag, value, epoch)


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
