"""From a recipe and data to a trained, measured and reported model; and on from where a run stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from striate.data import ImageData
from striate.errors import InputError, StriateError
from striate.evaluation import Evaluation, SceneEvaluation
from striate.files import write_json
from striate.runtime import RuntimeOptions, busy, recorded
from striate.training import _checkpoint as checkpoint
from striate.training._class_weights import class_weights, told_weights
from striate.training._disk import require_room
from striate.training._forecast import note_taken, read_forecast
from striate.training._initial import InitialWeights
from striate.training._layers import as_text, freeze, table
from striate.training._listener import Listener
from striate.training._loop import Trainer, first_checkpoint, fresh_model, judging_batch
from striate.training._out_of_memory import told_of_memory
from striate.training._plan import CHECKPOINT_SECONDS, foresee, in_parts, planned, require_device
from striate.training._recipe import Recipe
from striate.training._report import Measured, write_run_report
from striate.training._run import Run, require_free
from striate.training._task import task_of
from striate.training._together import open_together, read_together, working_together
from striate.training._uses import evaluated, log_use
from striate.training.processes import current, joined


class Trained(NamedTuple):
    """A finished training: the run's folder, its data, the best model and what it is worth."""

    run: Run
    data: ImageData
    model: nn.Module
    temperature: float  # calibrates probabilities: softmax(logits / temperature)
    evaluation: Evaluation | SceneEvaluation  # on the test split
    history: list[dict[str, Any]]


@joined()
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
    fit_memory: float | None = None,
) -> Trained:
    """Train `recipe` on the data `where` (a known set's name or a folder of images) in a new run `folder`.

    `cache` is a folder in which the decoded pictures of a folder are kept (docs/data.md); training is the same.
    `runtime` says how it is computed (docs/runtime.md), `threads` is short for one of its settings.
    Writes the recipe, metrics, checkpoints (about every `checkpoint_seconds`), evaluation and report. `stop` is asked
    after each step; once it is true, a checkpoint is written and Interrupted raised. `error_terms`: note those of all
    layers once an epoch, on one batch. `forecast`: say first what the training will take, measured on a copy (a few
    seconds; none for a tiny training), and refuse one that the disk has no room for. Training is the same with and
    without either. `weights`: what the network begins with (`striate.bundle.initial_weights` reads them) in place of
    random ones. `fit_memory`: measure first in how large parts a batch must be computed to stay below so many MiB, 0
    for what is free here, and set the recipe's `micro_batch`. Raises InputError for bad data, options or an occupied
    folder (nothing is written then) and StriateError if training diverges or the disk or the memory is full.
    """
    processes = current()
    listener = (listener or Listener()) if processes.first else Listener()
    if processes.first:
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
    fitted = None
    if fit_memory is not None:
        plan, fitted = in_parts(plan, fit_memory or None, listener)
    run, first = _begun(plan.run, plan.data, weights, listener)
    plan = plan._replace(run=run)
    if processes.first:
        if forecast:
            require_room(folder, plan.disk_mib)
        run.create(first)
        if fitted is not None:
            write_json(run.memory, fitted.to_json())
    with working_together(run), told_of_memory(run.recipe):
        if forecast:
            foresee(plan, checkpoint_seconds, listener, error_terms=error_terms)
        return _go_on(run, plan.data, checkpoint_seconds, listener, stop, error_terms=error_terms)


@joined()
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
    processes = current()
    listener = (listener or Listener()) if processes.first else Listener()
    run = Run.open(folder, processes)
    processes.device(require_device(run.device))
    began = run.environment().get("processes", "1")
    if began != str(processes.size):
        listener.note(
            f"this run began in {began} process{'' if began == '1' else 'es'} and goes on in {processes.size}: "
            "the same training up to rounding"
        )
    recorded(run.runtime.to_json(), run.device)
    root = data_root or (Path(run.data_root) if run.data_root else None)
    kept = Path(run.cache) if run.cache and cache is None else cache
    data = open_together(
        where or run.where,
        run.recipe.data,
        seed=run.recipe.seed,
        data_root=root,
        classes=run.classes,
        cache=kept or None,
        listener=listener,
    )
    if data.fingerprint != run.fingerprint:
        raise InputError(
            f"{folder}: the data in {where or run.where} is not what this run began with "
            "(files were added, removed or changed); restore it, or start a new run"
        )
    with working_together(run), told_of_memory(run.recipe):
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
        listener.note(f"weights of the classes in the loss: {told_weights(derived['class_weights'])}")
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
        if (saved := read_together(lambda: checkpoint.latest(run.checkpoints), trainer.processes)) is not None:
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
    model = fresh_model(run.recipe, data).to(trainer.device)
    best = read_together(lambda: checkpoint.read(run.best), trainer.processes)
    assert best is not None
    model.load_state_dict(best.tensors)
    model.eval()
    if data.unreadable:
        listener.note(f"{len(data.unreadable)} unreadable files were left out; the report names them")
    evaluation, temperature = task_of(run.recipe, data).conclude(
        model, data.splits["val"], data.splits["test"], batch_size=judging_batch(run.recipe), progress=listener.progress
    )
    history = trainer.position.history
    if trainer.processes.first:
        weights = f"epoch {best.state['epoch']}"
        use = evaluated("train", data.name, weights, evaluation.correct, evaluation.total, own=True)
        log_use(run.folder, use)
        write_json(run.evaluation, {"split": "test", "best_epoch": best.state["epoch"], **evaluation.to_json()})
        if (comparison := note_taken(run.forecast, trainer.spent(), history)) is not None:
            listener.note(comparison)
        write_run_report(run, run.report, measured=Measured(evaluation, best.state["epoch"]), data=data)
    return Trained(run, data, model.cpu(), temperature, evaluation, history)
