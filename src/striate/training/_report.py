"""The HTML report of a run, from what its folder holds; where the data is at hand, with pictures."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from striate.data import ImageData, Progress, Unreadable, open_data, require_pictures, require_scenes
from striate.errors import InputError, StriateError
from striate.evaluation import Evaluation, SceneEvaluation, scene_views, write_report
from striate.files import read_lines
from striate.insight import Summary, first_filters, summarize
from striate.models import build, card
from striate.training import _checkpoint as checkpoint
from striate.training._forecast import read_forecast
from striate.training._memory import MIB
from striate.training._run import Run
from striate.training._uses import uses


class Measured(NamedTuple):
    """What evaluation.json holds: the measures on the test split and the epoch whose weights they are of."""

    evaluation: Evaluation | SceneEvaluation
    epoch: int


def report(
    folder: Path,
    out: Path | None = None,
    *,
    where: str | None = None,
    data_root: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Path, str]:
    """Write the report of a run anew, finished or not, to `out` (default: report.html in its folder).

    Returns the file and, where the pictures cannot be shown, a sentence that says why. Nothing is evaluated: the
    measures are those that training wrote. `where` and `data_root` are needed only if the data has moved. Raises
    InputError if the folder is no run.
    """
    run = Run.open(folder)
    path = out or run.report
    measured = read_measures(run)
    try:
        data = _same_data(run, where, data_root, progress) if measured else None
        reason = ""
    except StriateError as error:
        data, reason = None, f"the pictures are not shown: {error}"
    write_run_report(run, path, measured=measured, data=data)
    return path, reason


def write_run_report(run: Run, path: Path, *, measured: Measured | None, data: ImageData | None) -> None:
    """Write the report from the run's files; `data` is where the pictures of mistakes come from."""
    history = read_lines(run.metrics)
    model = best_model(run)
    write_report(
        path,
        title=f"{run.recipe.model.name} on {run.where}",
        note="" if measured else _unfinished(run, history),
        evaluation=measured.evaluation if measured else None,
        history=history,
        facts=_facts(run, measured, history),
        pictures=None if data is None else _pictures(data, model),
        colours=data.masks.colours if data is not None and data.masks is not None else (),
        unreadable=[Unreadable(*file) for file in run.unreadable],
        cost=_cost(run, model, history),
        filters=None if model is None else first_filters(model),
        error_terms=read_lines(run.error_terms),
        uses=[use._asdict() for use in uses(run.folder)],
    )


def _pictures(data: ImageData, model: nn.Module | None) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Return what shows a picture of the test split; scenes with their masks and the model's beside them."""
    test = data.splits["test"]
    if data.masks is None or model is None:
        return lambda index: test.load([index])[0]
    return partial(scene_views, model, require_scenes(test), require_pictures(data.preprocessing))


def read_measures(run: Run) -> Measured | None:
    """Return what training measured on the test split; None if it is not that far. Raises InputError if damaged."""
    if not run.evaluation.is_file():
        return None
    try:
        values = json.loads(run.evaluation.read_text(encoding="utf-8"))
        kind = SceneEvaluation if run.recipe.data.task == "segmentation" else Evaluation
        return Measured(kind.from_json(values), values["best_epoch"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{run.evaluation}: cannot be read ({error}); write it anew with: striate train --resume {run.folder}"
        ) from error


def _unfinished(run: Run, history: list[dict[str, Any]]) -> str:
    reason = run.why_stopped().get("reason", "")
    return (
        f"{run.state().capitalize()} after {len(history)} of {run.recipe.epochs} epochs: not measured on the test "
        f"split.{f' What it said last: {reason}' if reason else ''}"
    )


def _same_data(run: Run, where: str | None, data_root: Path | None, progress: Progress | None) -> ImageData:
    root = data_root or (Path(run.data_root) if run.data_root else None)
    data = open_data(
        where or run.where,
        run.recipe.data,
        seed=run.recipe.seed,
        data_root=root,
        classes=run.classes,
        progress=progress,
    )
    if data.fingerprint != run.fingerprint:
        raise InputError(f"the data in {where or run.where} is not what the run was trained on")
    return data


def best_model(run: Run) -> nn.Module | None:
    """Return the network with the weights of the best epoch so far; None before the first epoch's end."""
    if not run.best.is_file():
        return None
    channels, *size = run.recipe.data.preparation().input_size
    with torch.random.fork_rng(devices=[]):
        model = build(
            run.recipe.model.name,
            classes=len(run.classes),
            channels=channels,
            size=tuple(size),
            **run.recipe.model.options,
        )
    model.load_state_dict(checkpoint.read(run.best).tensors)
    return model.eval()


def _facts(run: Run, measured: Measured | None, history: list[dict[str, Any]]) -> dict[str, str]:
    sizes = ", ".join(f"{name} {count:,}" for name, count in run.splits.items())
    excluded = f"; {len(run.recipe.data.exclude):,} files excluded" if run.recipe.data.exclude else ""
    machine = run.environment()
    on = {"Measured on": f"the test split, weights of epoch {measured.epoch}"} if measured else {}
    return {
        "Model": card(run.recipe.model.name).title,
        "Data": f"{run.where}: {sizes}; {len(run.classes)} classes{excluded}",
        **on,
        "Recipe": f"{run.recipe.name}, seed {run.recipe.seed}, {len(history)} of {run.recipe.epochs} epochs",
        **_began_with(run),
        "Optimiser": f"{run.recipe.optimizer.name}, learning rate {run.recipe.optimizer.lr:g}, "
        f"batch size {run.recipe.batch_size}",
        "Precision": f"{run.runtime.precision} in training, {run.runtime.in_float32().precision} when measured",
        "Machine": f"{machine.get('processor', 'unknown')}; {machine.get('platform', 'unknown')}",
        "Versions": ", ".join(f"{name} {machine.get(name, '?')}" for name in ("striate", "torch", "python")),
        "Started": run.created,
    }


def _began_with(run: Run) -> dict[str, str]:
    if run.initial is None:
        return {}
    kept = run.initial["kept"]
    left = f"; {len(kept)} tensors of the network are not in it and began at random" if kept else ""
    return {"Began with": f"{run.initial['source']}, SHA-256 {run.initial['sha256'][:12]}...{left}"}


def _cost(run: Run, model: nn.Module | None, history: list[dict[str, Any]]) -> dict[str, str]:
    """What the network costs by its structure, and what training it took."""
    costs: dict[str, str] = {}
    size = run.recipe.data.preparation().input_size
    if model is not None:
        summary = summarize(model, size)
        totals = summary.totals()
        costs = {
            "Input": " x ".join(map(str, size)),
            "Parameters": f"{totals.parameters:,}, {totals.trainable:,} of them trainable",
            "One picture": f"{totals.macs:,} multiply-accumulates ({totals.flops:,} FLOPs)",
            "Memory": f"{totals.weight_bytes / MIB:.2f} MiB of weights, "
            f"{totals.activation_bytes / MIB:.2f} MiB of outputs",
            **_receptive_field(summary, len(size)),
        }
    if history:
        seconds = sum(row["seconds"] for row in history)
        rates = sorted(row["images_per_second"] for row in history)
        costs["Training"] = (
            f"{seconds:.1f} s on {run.device}, {run.threads} threads; {rates[len(rates) // 2]:,.0f} pictures a second"
        )
        if peaks := [row["memory_mib"] for row in history if row.get("memory_mib") is not None]:
            costs["Peak memory"] = f"{max(peaks):,.0f} MiB, the whole process"
    foreseen = read_forecast(run.forecast)
    if foreseen is not None:
        forecast, taken = foreseen
        costs["Forecast"] = forecast.as_text().removeprefix("forecast: ")
        if taken is not None:
            costs["Forecast and truth"] = taken.beside(forecast)
    return costs


def _receptive_field(summary: Summary, rank: int) -> dict[str, str]:
    """What a unit of the last layer that still has places sees of the input."""
    placed = [row for row in summary.rows if len(row.output_size) == rank and max(row.output_size[1:]) > 1]
    if not placed:
        return {}
    last = placed[-1]
    seen, steps = (" x ".join(map(str, values)) for values in (last.receptive_field, last.effective_stride))
    what = "pixels" if rank == 3 else "moments"
    return {"Receptive field": f"a unit of {last.name} sees {seen} {what}, its neighbours {steps} further"}
