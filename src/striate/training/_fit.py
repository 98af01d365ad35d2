"""From a recipe and data to a trained, measured and reported model; and on from where a run stopped."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from striate.data import KNOWN, Cache, ImageData, decoded_anew, lasting, open_data
from striate.data.doctor import warning
from striate.errors import Diverged, InputError, StriateError
from striate.evaluation import Evaluation, SceneEvaluation
from striate.files import write_json
from striate.runtime import RuntimeOptions, busy, choose, products, recorded
from striate.training import _checkpoint as checkpoint
from striate.training._class_weights import class_weights
from striate.training._disk import needed_mib, require_room
from striate.training._forecast import Forecast, note_taken, read_forecast
from striate.training._initial import InitialWeights
from striate.training._layers import as_text, freeze, table
from striate.training._listener import Listener
from striate.training._loop import Trainer, first_checkpoint, fresh_model, judging_batch
from striate.training._recipe import Recipe
from striate.training._rehearsal import Rehearsal
from striate.training._report import Measured, write_run_report
from striate.training._run import Run, now, require_free
from striate.training._task import require_network, task_of
from striate.training._timing import measure
from striate.training._uses import evaluated, log_use

CHECKPOINT_SECONDS = 30.0
TINY_STEPS, TINY_SECONDS = 50, 20.0  # a training below either is over before anybody has read a forecast


class Trained(NamedTuple):
    """A finished training: the run's folder, its data, the best model and what it is worth."""

    run: Run
    data: ImageData
    model: nn.Module
    temperature: float  # calibrates probabilities: softmax(logits / temperature)
    evaluation: Evaluation | SceneEvaluation  # on the test split
    history: list[dict[str, Any]]


class Plan(NamedTuple):
    """A training that could begin: its run, not yet written, its data, and the room on the disk that it needs."""

    run: Run
    data: ImageData
    disk_mib: float


def fit(
    recipe: Recipe,
    where: str,
    folder: Path,
    *,
    data_root: Path | None = None,
    cache: Path | None = None,
    threads: int | None = None,
    runtime: RuntimeOptions | None = None,
    device: str = "auto",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
    error_terms: bool = True,
    forecast: bool = True,
    weights: InitialWeights | None = None,
) -> Trained:
    """Train `recipe` on the data `where` (a known set's name or a folder of images) in a new run `folder`.

    `cache` is a folder in which the decoded pictures of a folder are kept (docs/data.md); training is the same.
    `runtime` says how it is computed (docs/runtime.md), `threads` is short for one of its settings.
    Writes the recipe, metrics, checkpoints (about every `checkpoint_seconds`), evaluation and report. `stop` is asked
    after each step; once it is true, a checkpoint is written and Interrupted raised. `error_terms`: note those of all
    layers once an epoch, on one batch. `forecast`: say first what the training will take, measured on a copy (a few
    seconds; none for a tiny training), and refuse one that the disk has no room for. Training is the same with and
    without either. `weights`: what the network begins with (`striate.bundle.initial_weights` reads them) in place of
    random ones. Raises InputError for bad data, options or an occupied folder (nothing is written then) and
    StriateError if training diverges or the disk is full.
    """
    listener = listener or Listener()
    require_free(folder)
    plan = planned(
        recipe,
        where,
        folder,
        data_root=data_root,
        cache=cache,
        runtime=_options(runtime, threads),
        device=device,
        listener=listener,
    )
    run, first = _begun(plan.run, plan.data, weights, listener)
    plan = plan._replace(run=run)
    if forecast:
        require_room(folder, plan.disk_mib)
    run.create(first)
    with run.working():
        if forecast:
            _foresee(plan, checkpoint_seconds, listener, error_terms=error_terms)
        return _go_on(run, plan.data, checkpoint_seconds, listener, stop, error_terms=error_terms)


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
) -> Forecast:
    """Say what `fit` with the same arguments would take: time, memory, room on the disk. Nothing is written.

    Raises InputError for bad data or options and Diverged if the first steps diverge.
    """
    plan = planned(
        recipe,
        where,
        folder,
        data_root=data_root,
        cache=cache,
        runtime=runtime,
        device=device,
        listener=listener or Listener(),
    )
    with plan.run.runtime.applied():
        return measure(
            Rehearsal(plan.run, plan.data),
            checkpoint_seconds=checkpoint_seconds,
            disk_mib=plan.disk_mib,
            error_terms=error_terms,
        )


def _foresee(plan: Plan, checkpoint_seconds: float, listener: Listener, *, error_terms: bool) -> None:
    """Measure on a copy what the training will take, and say it and write it down unless it is over in no time."""
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

    Raises InputError for bad data or options, and for a network that does not fit the data.
    """
    require_network(recipe)
    device = _device(device)
    data = open_data(
        where,
        recipe.data,
        seed=recipe.seed,
        data_root=data_root,
        progress=listener.progress,
        cache=Cache(cache, listener.note) if cache else None,
    )
    if (remark := decoded_anew(data)) is not None:
        listener.note(remark)
    if recipe.data.kind == "signals":  # what was read off the data is part of the recipe from here on
        recipe = recipe.replace(data=recipe.data.like(data.preprocessing))
        listener.note(_series_note(recipe))
    if where not in KNOWN and (remark := warning(data)) is not None:
        listener.note(remark)
    model = fresh_model(recipe, data)
    chosen = choose(
        runtime or RuntimeOptions(),
        work=products(model, data.preprocessing.input_size),
        channels_last=recipe.channels_last,
        device=device,
    )
    run = Run(
        folder,
        recipe,
        lasting(where),
        str(data_root.resolve()) if data_root else None,
        data.classes,
        data.fingerprint,
        chosen,
        device,
        now(),
        splits={name: len(part) for name, part in data.splits.items()},
        unreadable=tuple((str(file.path), file.reason) for file in data.unreadable),
        test_fingerprint=replace(data, splits={"test": data.splits["test"]}).fingerprint,
        cache=str(cache.resolve()) if cache else None,
    )
    return Plan(run, data, needed_mib(model, recipe))


def resume(
    folder: Path,
    *,
    where: str | None = None,
    data_root: Path | None = None,
    cache: Path | Literal[False] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    listener: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
    error_terms: bool = True,
) -> Trained:
    """Take an interrupted run to its end: on a CPU, to the same bits as if it had never been interrupted.

    `where` and `data_root` are needed only if the data has moved. `cache`: None for the run's own, False for none.
    Raises InputError if the folder is no run, its recipe was changed, or the data is not the one the run began with.
    """
    listener = listener or Listener()
    run = Run.open(folder)
    _device(run.device)
    recorded(run.runtime.to_json(), run.device)
    root = data_root or (Path(run.data_root) if run.data_root else None)
    kept = Path(run.cache) if run.cache and cache is None else cache
    data = open_data(
        where or run.where,
        run.recipe.data,
        seed=run.recipe.seed,
        data_root=root,
        classes=run.classes,
        progress=listener.progress,
        cache=Cache(kept, listener.note) if kept else None,
    )
    if data.fingerprint != run.fingerprint:
        raise InputError(
            f"{folder}: the data in {where or run.where} is not what this run began with "
            "(files were added, removed or changed); restore it, or start a new run"
        )
    with run.working():
        return _go_on(run, data, checkpoint_seconds, listener, stop, error_terms=error_terms)


def _begun(
    run: Run, data: ImageData, weights: InitialWeights | None, listener: Listener
) -> tuple[Run, checkpoint.Checkpoint | None]:
    """Return the run with a record of what follows from recipe and data, and its first checkpoint, if there is one.

    That is: the layers' rates and the classes' weights; the network with `weights`. Raises InputError.
    """
    recipe, derived, initial, first = run.recipe, dict[str, Any](), None, None
    in_loss = class_weights(recipe.loss.class_weights, task_of(recipe, data).class_counts())
    if in_loss is not None:
        derived["class_weights"] = dict(zip(data.classes, in_loss.tolist(), strict=True))
        told = ", ".join(f"{name} {weight:.3g}" for name, weight in derived["class_weights"].items())
        listener.note(f"weights of the classes in the loss: {told}")
    by_layer = recipe.freeze or recipe.optimizer.layer_decay != 1.0
    if weights is None and not by_layer:
        return replace(run, derived=derived), None
    model = fresh_model(recipe, data)
    if weights is not None:
        report = weights.give(model)
        initial, first = weights.to_json(report), first_checkpoint(recipe, model)
        for text in (report.as_text(), *weights.remarks(data)):
            listener.note(text)
    if by_layer:
        freeze(model, recipe.freeze)
        derived["layers"] = table(model, recipe.optimizer.layer_decay)
        listener.note(as_text(derived["layers"]))
    return replace(run, derived=derived, initial=initial), first


def _series_note(recipe: Recipe) -> str:
    options = recipe.data
    by = "each by itself" if options.standardize == "series" else "by the mean and deviation in the recipe"
    return f"series of {options.channels} x {options.length} (channels x length, {options.fit}), standardised {by}"


def _options(runtime: RuntimeOptions | None, threads: int | None) -> RuntimeOptions:
    options = runtime or RuntimeOptions()
    return options if threads is None else replace(options, threads=threads)


def _go_on(
    run: Run,
    data: ImageData,
    checkpoint_seconds: float,
    listener: Listener,
    stop: Callable[[], bool],
    *,
    error_terms: bool,
) -> Trained:
    """Train from the newest checkpoint, or from the beginning if there is none, and measure the result."""
    if (remark := busy(run.threads)) is not None:
        listener.note(remark)
    with torch.random.fork_rng(devices=[]), run.runtime.applied():
        trainer = Trainer(run, data, listener, stop, error_terms=error_terms)
        if (saved := checkpoint.latest(run.checkpoints)) is not None:
            trainer.load(saved)
            if trainer.position.step:
                listener.note(f"continuing at epoch {trainer.position.epoch + 1}, step {trainer.position.step + 1}")
        elif run.initial is not None:
            raise StriateError(
                f"{run.folder}: the checkpoint with the weights that this run began with is missing; restore "
                f"{run.checkpoints}, or start a new run"
            )
        foreseen = read_forecast(run.forecast)
        trainer.train(checkpoint_seconds, foreseen[0].between_seconds if foreseen else 0.0)
        with run.runtime.in_float32().applied():
            return _conclude(run, data, trainer, listener)


def _conclude(run: Run, data: ImageData, trainer: Trainer, listener: Listener) -> Trained:
    """Judge the best weights once on the test split, as their task does, and write evaluation and report."""
    # built as the bundle will build it and in float32, so that `evaluate` gives the same to the last bit on a CPU
    model = fresh_model(run.recipe, data).to(run.device)
    best = checkpoint.read(run.best)
    model.load_state_dict(best.tensors)
    model.eval()
    if data.unreadable:
        listener.note(f"{len(data.unreadable)} unreadable files were left out; the report names them")
    evaluation, temperature = task_of(run.recipe, data).conclude(
        model, data.splits["val"], data.splits["test"], batch_size=judging_batch(run.recipe), progress=listener.progress
    )
    weights = f"epoch {best.state['epoch']}"
    use = evaluated("train", data.name, weights, evaluation.correct, evaluation.total, own=True)
    log_use(run.folder, use)
    write_json(run.evaluation, {"split": "test", "best_epoch": best.state["epoch"], **evaluation.to_json()})
    history = trainer.position.history
    if (comparison := note_taken(run.forecast, trainer.spent(), history)) is not None:
        listener.note(comparison)
    write_run_report(run, run.report, measured=Measured(evaluation, best.state["epoch"]), data=data)
    return Trained(run, data, model.cpu(), temperature, evaluation, history)


def _device(word: str) -> str:
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
