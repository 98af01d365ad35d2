"""A training that could begin: opened, measured and told before anything is written."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from striate.data import KNOWN, ImageData, decoded_anew, lasting
from striate.data.doctor import warning
from striate.errors import Diverged, InputError, StriateError
from striate.files import write_json
from striate.runtime import Runtime, RuntimeOptions, choose, products, why_not_small
from striate.training._disk import needed_mib
from striate.training._fit_memory import MemoryFit, largest_parts
from striate.training._forecast import Forecast
from striate.training._listener import Listener
from striate.training._loop import fresh_model
from striate.training._recipe import Recipe
from striate.training._rehearsal import Rehearsal
from striate.training._run import Run, now
from striate.training._task import require_network
from striate.training._timing import measure
from striate.training._together import open_together
from striate.training.processes import current

CHECKPOINT_SECONDS = 30.0
TINY_STEPS, TINY_SECONDS = 50, 20.0  # a training below either is over before anybody has read a forecast


class Plan(NamedTuple):
    """A training that could begin: its run, not yet written, its data, and the room on the disk that it needs."""

    run: Run
    data: ImageData
    disk_mib: float


def forecast(
    recipe: Recipe,
    where: str,
    folder: Path = Path("runs"),
    *,
    data_root: Path | None = None,
    cache: Path | None = None,
    runtime: RuntimeOptions | None = None,
    device: str = "auto",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    listener: Listener | None = None,
    error_terms: bool = True,
    fit_memory: float | None = None,
) -> Forecast:
    """Say what `fit` with the same arguments would take: time, memory, room on the disk. Nothing is written.

    Raises InputError for bad data or options, and in several processes, and Diverged if the first steps diverge.
    """
    if current().size > 1:
        raise InputError("a forecast is measured in one process: ask for it without torchrun")
    listener = listener or Listener()
    plan = planned(
        recipe, where, folder, data_root=data_root, cache=cache, runtime=runtime, device=device, listener=listener
    )
    if fit_memory is not None:
        plan, _ = in_parts(plan, fit_memory or None, listener)
    with plan.run.runtime.applied():
        return measure(
            Rehearsal(plan.run, plan.data),
            checkpoint_seconds=checkpoint_seconds,
            disk_mib=plan.disk_mib,
            error_terms=error_terms,
        )


def in_parts(plan: Plan, limit_mib: float | None, listener: Listener) -> tuple[Plan, MemoryFit]:
    """Measure how large parts of a batch fit into memory and make that the recipe's `micro_batch`.

    Raises InputError in several processes.
    """
    if current().size > 1:
        raise InputError(
            "--fit-memory measures a training in one process: leave it out, and set micro_batch, which counts the "
            "pictures of all processes"
        )
    recipe = plan.run.recipe
    with torch.random.fork_rng(devices=[]):
        fitted = largest_parts(Rehearsal(plan.run, plan.data), limit_mib)
    listener.note(fitted.as_text(recipe.batch_size))
    run = replace(plan.run, recipe=recipe.replace(micro_batch=fitted.micro_batch))
    return plan._replace(run=run), fitted


def foresee(plan: Plan, checkpoint_seconds: float, listener: Listener, *, error_terms: bool) -> None:
    """Measure on a copy what the training will take, and say it and write it down unless it is over in no time.

    Not in several processes: how many steps are measured depends on each one's clock.
    """
    if current().size > 1:
        return
    with plan.run.runtime.applied(), contextlib.suppress(Diverged):  # a training that diverges says so itself
        rehearsal = Rehearsal(plan.run, plan.data)
        if rehearsal.batches * plan.run.recipe.epochs < TINY_STEPS:
            return
        foreseen = measure(
            rehearsal, checkpoint_seconds=checkpoint_seconds, disk_mib=plan.disk_mib, error_terms=error_terms
        )
        if foreseen.seconds >= TINY_SECONDS:
            listener.note(foreseen.as_text())
            write_json(plan.run.forecast, foreseen.to_json())


def planned(
    recipe: Recipe,
    where: str,
    folder: Path,
    *,
    data_root: Path | None,
    cache: Path | None = None,
    runtime: RuntimeOptions | None,
    device: str,
    listener: Listener,
) -> Plan:
    """Open the data and say how the recipe would be trained on it; nothing is written.

    Of several processes the first one chooses how. Raises InputError for bad data or options, and for a network that
    does not fit the data.
    """
    processes = current()
    require_network(recipe)
    device = processes.from_first(lambda: require_device(device))
    processes.device(device)
    data = open_together(where, recipe.data, seed=recipe.seed, data_root=data_root, cache=cache, listener=listener)
    if (remark := decoded_anew(data)) is not None:
        listener.note(remark)
    if recipe.data.kind == "signals":  # what was read off the data is part of the recipe from here on
        recipe = recipe.replace(data=recipe.data.like(data.preprocessing))
        listener.note(_series_note(recipe))
    if where not in KNOWN and (remark := warning(data)) is not None:
        listener.note(remark)
    model = fresh_model(recipe, data)

    def choice() -> dict[str, Any]:
        chosen = choose(
            runtime or RuntimeOptions(),
            work=products(model, data.preprocessing.input_size),
            not_small=why_not_small(model, data.preprocessing.input_size),
            channels_last=recipe.channels_last,
            device=device,
        )
        return {**chosen.to_json(), "reasons": dict(chosen.reasons)}

    run = Run(
        folder,
        recipe,
        lasting(where),
        str(data_root.resolve()) if data_root else None,
        data.classes,
        data.fingerprint,
        Runtime.from_json(processes.from_first(choice)),
        device,
        processes.from_first(now),
        splits={name: len(part) for name, part in data.splits.items()},
        unreadable=tuple((str(file.path), file.reason) for file in data.unreadable),
        test_fingerprint=replace(data, splits={"test": data.splits["test"]}).fingerprint,
        cache=str(cache.resolve()) if cache else None,
    )
    return Plan(run, data, needed_mib(model, recipe))


def _series_note(recipe: Recipe) -> str:
    options = recipe.data
    by = "each by itself" if options.standardize == "series" else "by the mean and deviation in the recipe"
    return f"series of {options.channels} x {options.length} (channels x length, {options.fit}), standardised {by}"


def require_device(word: str) -> str:
    """Return the device that a word means; raises StriateError if it cannot be used here."""
    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=word)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise StriateError(
            f"device {word!r} cannot be used here ({reason}); train on another device, for example --device cpu"
        ) from error
    return word
