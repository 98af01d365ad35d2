"""The run folder: what was trained on what, how, where; everything about one run in one place."""

import contextlib
import datetime
import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from striate.data import ClassMap
from striate.errors import Diverged, InputError, Interrupted, StriateError
from striate.files import PART, write_json, write_text
from striate.runtime import Runtime, processor
from striate.training import _checkpoint as checkpoint
from striate.training._recipe import Recipe, differences
from striate.training.processes import Processes, current

FORMAT = 1
TESTS = "tests.jsonl"
OWN = {"run.json", "recipe.json", "environment.json", "checkpoints"}  # what an unfinished start may leave behind


@dataclass(frozen=True)
class Run:
    """A training run on disk: `run.json`, `recipe.json`, `environment.json`, `metrics.jsonl`,
    `error_terms.jsonl`, `checkpoints/` and, when it is finished, `evaluation.json`, `tests.jsonl`, `report.html` and
    `model.striate`.
    """

    folder: Path
    recipe: Recipe
    where: str  # a known data set's name or a folder of images
    data_root: str | None
    classes: ClassMap
    fingerprint: str
    runtime: Runtime  # precision, kernels, layout, threads: kept when the run is resumed
    device: str
    created: str
    splits: dict[str, int] = field(default_factory=dict)  # pictures in each
    unreadable: tuple[tuple[str, str], ...] = ()  # files that were left out, and why
    test_fingerprint: str = ""  # of the test split alone
    cache: str | None = None  # the folder in which decoded pictures are kept
    initial: dict[str, Any] | None = None  # the weights it began with, if it did not begin at random
    derived: dict[str, Any] = field(default_factory=dict)  # what followed from recipe and data: weights of classes ...

    @property
    def threads(self) -> int:
        """The CPU threads."""
        return self.runtime.threads

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def best(self) -> Path:
        """The weights with the best validation accuracy so far."""
        return self.checkpoints / "best.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON line per finished epoch."""
        return self.folder / "metrics.jsonl"

    @property
    def error_terms(self) -> Path:
        """One JSON line per finished epoch: the error terms of the layers."""
        return self.folder / "error_terms.jsonl"

    @property
    def forecast(self) -> Path:
        """What was foreseen before the first epoch and, when the run is finished, what it took."""
        return self.folder / "forecast.json"

    @property
    def memory(self) -> Path:
        """What was measured where a batch was fitted into memory."""
        return self.folder / "memory.json"

    @property
    def stopped(self) -> Path:
        """Why training stopped before its end, if it could say so."""
        return self.folder / "stopped.json"

    @property
    def evaluation(self) -> Path:
        """The finished run's measures on the test split."""
        return self.folder / "evaluation.json"

    @property
    def report(self) -> Path:
        """The finished run's HTML report."""
        return self.folder / "report.html"

    @property
    def bundle(self) -> Path:
        """The file that ships."""
        return self.folder / "model.striate"

    @property
    def finished(self) -> bool:
        """Whether training, evaluation, report and bundle are all there."""
        return all(path.is_file() for path in (self.evaluation, self.report, self.bundle))

    def create(self, first: checkpoint.Checkpoint | None = None) -> None:
        """Make the folder, with the checkpoint to begin from; `run.json` is last: a folder that has it is complete."""
        require_free(self.folder)
        shutil.rmtree(self.checkpoints, ignore_errors=True)  # of a start that was killed before its run.json was there
        if first is not None:
            checkpoint.save_step(self.checkpoints, 0, first.tensors, first.state)
        write_json(self.folder / "recipe.json", self.recipe.to_json())
        write_json(self.folder / "environment.json", {**environment(), "processes": str(current().size)})
        write_json(
            self.folder / "run.json",
            {
                "format": FORMAT,
                "recipe_sha256": digest(self.recipe.to_json()),
                "where": self.where,
                "data_root": self.data_root,
                "classes": self.classes.to_json(),
                "fingerprint": self.fingerprint,
                "runtime": self.runtime.to_json(),
                "device": self.device,
                "created": self.created,
                "splits": self.splits,
                "unreadable": self.unreadable,
                "test_fingerprint": self.test_fingerprint,
                "cache": self.cache,
                "initial": self.initial,
                "derived": self.derived,
            },
        )

    @classmethod
    def open(cls, folder: Path, processes: Processes | None = None) -> "Run":
        """Read a run folder; raises InputError when it is none, is damaged, or its recipe was changed.

        Of several processes only the first needs to have the folder.
        """
        try:
            values, recipe = (processes or Processes()).from_first(lambda: _files(folder))
            if values["format"] != FORMAT:
                raise InputError(f"{folder}: a run of format {values['format']}, this version reads format {FORMAT}")
            recorded = values["recipe_sha256"]
            run = cls(
                folder=folder,
                recipe=Recipe.from_json(recipe),
                classes=ClassMap.from_json(values["classes"]),
                runtime=Runtime.from_json(values["runtime"]),
                splits=values.get("splits", {}),
                unreadable=tuple((path, reason) for path, reason in values.get("unreadable", ())),
                test_fingerprint=values.get("test_fingerprint", ""),
                cache=values.get("cache"),
                initial=values.get("initial"),
                derived=values.get("derived", {}),
                **{key: values[key] for key in ("where", "data_root", "fingerprint", "device", "created")},
            )
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(
                f"{folder}: the run cannot be read, run.json or recipe.json is damaged ({reason})"
            ) from error
        if digest(recipe) != recorded:  # as it is written: a later version may know more settings
            raise InputError(
                f"{folder}: recipe.json was changed after the run began; restore it to resume, "
                "or start a new run with the changed recipe"
            )
        return run

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold the folder for one process while it trains, and leave word if it stops before the end.

        Raises InputError if another process holds it. A process that is killed holds nothing any more.
        """
        with locked(self.folder) as free:
            if not free:
                raise InputError(f"{self.folder}: another process is training this run; wait for it, or stop it first")
            self.stopped.unlink(missing_ok=True)
            try:
                yield
            except StriateError as error:
                word = {Interrupted: "interrupted", Diverged: "diverged"}.get(type(error), "failed")
                with contextlib.suppress(StriateError):  # a full disk cannot be told of on the disk
                    write_json(self.stopped, {"state": word, "reason": str(error), "when": now()})
                raise

    def state(self) -> str:
        """Say how far the run is: running, finished, interrupted, diverged or failed."""
        with locked(self.folder) as free:
            if not free:
                return "running"
        if self.evaluation.is_file():
            return "finished"
        return str(self.why_stopped().get("state", "interrupted"))  # a killed process leaves no word

    def why_stopped(self) -> dict[str, Any]:
        """Return what `stopped.json` says: state, reason, when; nothing if there is none."""
        return _object(self.stopped)

    def environment(self) -> dict[str, Any]:
        """Return what `environment.json` says of the machine that the run began on."""
        return _object(self.folder / "environment.json")

    def write_metrics(self, history: list[dict[str, Any]]) -> None:
        """Write `metrics.jsonl`: a line for each finished epoch."""
        write_text(self.metrics, "".join(json.dumps(row, allow_nan=False) + "\n" for row in history))

    def require_same_recipe(self, recipe: Recipe) -> None:
        """Raise InputError that lists the settings in which `recipe` is not the run's."""
        if changed := differences(self.recipe, recipe):
            raise InputError(
                f"{self.folder}: a resumed run keeps its recipe, but this one changes {'; '.join(changed)}; "
                "start a new run for that"
            )


def _object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _files(folder: Path) -> list[Any]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder")
    if not (folder / "run.json").is_file():
        raise InputError(f"{folder}: not a run (it has no run.json); start one with: striate train DATA --out {folder}")
    return [json.loads((folder / name).read_text(encoding="utf-8")) for name in ("run.json", "recipe.json")]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Try to lock a run's folder and yield whether it is ours; where the system has no such locks it always is."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    with (folder / "run.json").open("rb") as file:  # the lock is the system's: it goes with the process
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            yield True
            return
        yield True


def require_free(folder: Path) -> None:
    """Raise InputError if `folder` holds anything that a new run would mix with or overwrite."""
    if folder.is_file():
        raise InputError(f"{folder}: is a file; choose another name for the run folder")
    if (folder / "run.json").is_file():
        raise InputError(
            f"{folder}: already holds a run; continue it with: striate train --resume {folder}, or choose another --out"
        )
    try:
        foreign = sorted(p.name for p in folder.iterdir() if p.name not in OWN and not p.name.endswith(PART))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); choose another --out") from error
    if foreign:
        raise InputError(f"{folder}: is not empty (it holds {foreign[0]!r}); choose a new folder for the run")


def digest(recipe: dict[str, Any]) -> str:
    """SHA-256 of the canonical form of a recipe's JSON."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def environment() -> dict[str, str]:
    """Return the versions and the machine that a run depends on."""
    packages = ("striate", "torch", "numpy", "pillow", "safetensors", "scikit-learn")
    return {
        **{name: version(name) for name in packages},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": processor(),
    }


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
