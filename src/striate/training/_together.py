"""What all processes of a training do together: open its data, read its checkpoints, hold its folder."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from striate.data import KNOWN, Cache, ClassMap, DataOptions, ImageData, open_data
from striate.errors import InputError
from striate.training import _checkpoint as checkpoint
from striate.training._listener import Listener
from striate.training._run import Run
from striate.training.processes import Processes, current


def open_together(
    where: str,
    options: DataOptions,
    *,
    seed: int,
    data_root: Path | None,
    classes: ClassMap | None = None,
    cache: Path | None,
    listener: Listener,
) -> ImageData:
    """Open the data in every process; where that downloads or fills a cache, in one of each machine first.

    Raises InputError, in all, if they do not see the same data.
    """
    processes = current()
    downloads = where in KNOWN and bool(KNOWN[where].files)
    with processes.one_by_one(downloads or cache is not None):
        data = open_data(
            where,
            options,
            seed=seed,
            data_root=data_root,
            classes=classes,
            progress=listener.progress,
            cache=Cache(cache, listener.note) if cache else None,
        )
    if not processes.agree(data.fingerprint.encode()):
        raise InputError(
            f"{where}: the processes do not see the same data (files or their contents differ): give all of them the "
            "same folder, or equal copies of it"
        )
    return data


def read_together(
    read: Callable[[], checkpoint.Checkpoint | None], processes: Processes
) -> checkpoint.Checkpoint | None:
    """Return the checkpoint that the first process reads, for all."""
    saved = read() if processes.first else None
    state = processes.from_first(lambda: saved and saved.state)
    if state is None:
        return None
    return checkpoint.Checkpoint(processes.tensors_from_first(lambda: saved.tensors if saved else {}), state)


@contextlib.contextmanager
def working_together(run: Run) -> Iterator[None]:
    """Hold the run's folder, in the first process; what ends one process ends all."""
    processes = current()
    with run.working() if processes.first else contextlib.nullcontext(), processes.ending_together():
        yield
