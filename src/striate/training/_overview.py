"""Runs side by side: what each is, how far it came, what it reached, in which settings they differ."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.errors import InputError
from striate.evaluation import Evaluation, SceneEvaluation
from striate.files import read_lines
from striate.training._recipe import keys, value_of
from striate.training._report import read_measures
from striate.training._run import Run
from striate.training._uses import Use, uses


@dataclass(frozen=True)
class Overview:
    """One run as a list of runs shows it."""

    run: Run
    state: str
    history: list[dict[str, Any]]
    evaluation: Evaluation | SceneEvaluation | None  # on the test split, when the run is finished
    best_epoch: int | None
    uses: list[Use]  # of a test split

    @classmethod
    def open(cls, folder: Path) -> "Overview":
        """Read a run folder; raises InputError if it is none or damaged."""
        run = Run.open(folder)
        measured = read_measures(run)
        return cls(
            run,
            run.state(),
            read_lines(run.metrics),
            measured.evaluation if measured else None,
            measured.epoch if measured else None,
            uses(folder),
        )

    @property
    def best_val(self) -> float | None:
        """The best validation score of an epoch, by which the weights were chosen: accuracy, or mean IoU of masks."""
        scores = [row.get("val_miou", row.get("val_accuracy")) for row in self.history]
        return max((score for score in scores if score is not None), default=None)

    @property
    def test(self) -> float | None:
        """The same score on the test split, when the run is finished."""
        if self.evaluation is None:
            return None
        return float(getattr(self.evaluation, "mean_iou", self.evaluation.accuracy))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the test score; None for masks, whose pixels are no independent samples."""
        return getattr(self.evaluation, "interval", None)

    @property
    def seconds(self) -> float:
        """The time spent in finished epochs."""
        return float(sum(row.get("seconds", 0.0) for row in self.history))

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        run = self.run
        return {
            "run": str(run.folder),
            "recipe": run.recipe.name,
            "model": run.recipe.model.name,
            "data": run.where,
            "seed": run.recipe.seed,
            "epochs": len(self.history),
            "epochs_asked": run.recipe.epochs,
            "state": self.state,
            "best_epoch": self.best_epoch,
            "best_val": self.best_val,
            "test": self.test,
            "test_interval": list(self.interval) if self.interval else None,
            "test_uses": len(self.uses),
            "seconds": round(self.seconds, 3),
            "created": run.created,
        }


def find_runs(folder: Path) -> tuple[list[Overview], dict[Path, str]]:
    """Return the runs in a folder and in all below it, by their names, and why others cannot be read.

    Raises InputError if there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that the runs are in")
    found: list[Overview] = []
    damaged: dict[Path, str] = {}
    for place, inside, files in os.walk(folder):
        inside.sort()
        if "run.json" not in files:
            continue
        inside.clear()  # no run lies within a run
        try:
            found.append(Overview.open(Path(place)))
        except InputError as error:
            reason = str(error)
            damaged[Path(place)] = reason if place in reason else f"{place}: {reason}"
    return found, damaged


def settings_that_differ(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the settings that are not the same in all runs, each with the runs' values: recipe, data, machine."""
    values = {key: [value_of(run.recipe, key) for run in runs] for key in keys()}
    values |= {
        "data": [run.where for run in runs],
        "data's fingerprint": [run.fingerprint[:12] for run in runs],
        "device": [run.device for run in runs],
        **{
            f"runtime.{key}": [run.runtime.to_json().get(key) for run in runs]
            for key in dict.fromkeys(key for run in runs for key in run.runtime.to_json())
            if key != "reasons"
        },
    }
    return {key: row for key, row in values.items() if any(value != row[0] for value in row[1:])}
