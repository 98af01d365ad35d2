"""`striate train`: from image files to a checked model."""

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from striate.cli import _options as options
from striate.cli._forecast import foresee
from striate.cli._together import together
from striate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from striate.training import InitialWeights, Recipe, Trained


@together
def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="A known data set (see `striate datasets`), a folder of images, shards, or series.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The network (see `striate models`); default: the recipe's.", show_default=False)
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="The recipe; default: the one for the data and model.", show_default=False)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="classification|segmentation",
            help="What is learned: a label per picture, or one per pixel; default: what the folder holds.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/DATA-MODEL-TIME.", show_default=False)
    ] = None,
    go_on: Annotated[
        bool, typer.Option("--continue", help="If --out already holds this run, continue it; else start it.")
    ] = False,
    exclude: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A list of files to leave out, such as `striate doctor --quarantine` writes.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|BUNDLE|RUN",
            help="Begin with these weights: of any library, of a bundle, or of a run's best epoch.",
            show_default=False,
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="LAYERS",
            help="Do not train these: names, or how many from the input on; -1: all but the last.",
            show_default=False,
        ),
    ] = None,
    data_root: options.DataRoot = None,
    cache: Annotated[
        bool | None,
        typer.Option(
            "--cache/--no-cache",
            help="Keep the folder's decoded pictures on disk, for later epochs and runs; a resumed run as it began.",
            show_default=False,
        ),
    ] = None,
    cache_folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where --cache keeps them; default: see `striate cache`.", show_default=False
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of everything random; default 0.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of the recipe; may be repeated."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue this run folder, exactly where it stopped.", show_default=False)
    ] = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    no_native: options.NoNative = False,
    keep_memory: options.KeepMemory = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    checkpoint_every: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How often a checkpoint is written.")
    ] = 30.0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard files too, in the run's folder tensorboard/.")
    ] = False,
    no_error_terms: Annotated[
        bool, typer.Option("--no-error-terms", help="Do not measure the layers' error terms once an epoch.")
    ] = False,
    fit_memory: Annotated[
        str | None,
        typer.Option(
            metavar="auto|MIB",
            help="Compute batches in parts that fit into the memory that is free, or into so many MiB.",
            show_default=False,
        ),
    ] = None,
    forecast: Annotated[
        bool, typer.Option("--forecast", help="Only say what the training would take, and do nothing.")
    ] = False,
    no_forecast: Annotated[
        bool, typer.Option("--no-forecast", help="Do not measure first what the training will take.")
    ] = False,
    show_recipe: Annotated[
        bool, typer.Option("--show-recipe", help="Print the recipe as JSON and do nothing.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Train a network and leave a run folder with metrics, checkpoints, report and the bundle model.striate.

    Examples:

    striate train digits

    striate train mnist --model lenet5 --data-root ~/mnist --seed 3

    striate train photos/ --out runs/flowers --set epochs=10 --set optimizer.lr=0.05

    striate train birds/ --weights runs/flowers --freeze -1

    striate train scenes/ --task segmentation --out runs/scenes

    striate train --resume runs/flowers

    torchrun --nproc-per-node 4 -m striate train photos/ --out runs/flowers
    """
    from striate.training.processes import current

    _require_to_be_found_again(out, resume, go_on=go_on)
    if forecast and (resume is not None or no_forecast):
        raise InputError("--forecast looks ahead at a new run: leave out --resume and --no-forecast")
    kept = _cache(cache, cache_folder)
    if freeze is not None:
        settings = [*(settings or []), f"freeze={freeze}"]
    if resume is not None:
        chosen_anew = (
            *(out, recipe, task, exclude, weights, precision, threads, no_native or None, keep_memory, fit_memory),
        )
        if device != "auto" or any(flag is not None for flag in chosen_anew):
            raise InputError(
                "--resume continues a run in its own folder with its own recipe, files, device, precision, threads and "
                "kernels: leave out --out, --recipe, --task, --exclude, --weights, --device, --precision, --threads, "
                "--no-native, --keep-memory and --fit-memory"
            )
        run: Callable[..., Trained] = _resume(resume, data, data_root, kept, model, seed, settings)
    elif data is None:
        raise InputError("train: name a data set or a folder of images, for example: striate train digits")
    else:
        initial = None if weights is None else _weights(weights)
        chosen = recipe_of(data, model, recipe, seed, settings or [], initial, task)
        if exclude is not None:
            chosen = _without(chosen, exclude)
        if show_recipe:
            options.print_json(chosen.to_json())
            return
        asked = options.runtime_options(precision, threads, no_native, keep_memory)
        processes = current()
        folder = out or Path("runs") / processes.from_first(lambda: _name(data, chosen))
        if forecast:
            foresee(
                chosen,
                data,
                folder,
                as_json=as_json,
                data_root=data_root,
                cache=kept or None,
                runtime=asked,
                device=device,
                checkpoint_seconds=checkpoint_every,
                error_terms=not no_error_terms,
                fit_memory=_memory(fit_memory),
            )
            return
        from striate.training import fit

        if go_on and processes.from_first((folder / "run.json").is_file):
            run = _go_on(folder, chosen, data, data_root, kept)
        else:
            run = partial(
                fit,
                chosen,
                data,
                folder,
                data_root=data_root,
                cache=kept or None,
                runtime=asked,
                device=device,
                forecast=not no_forecast,
                weights=initial,
                fit_memory=_memory(fit_memory),
            )
    tensorboard = tensorboard or (resume is not None and (resume / "tensorboard").is_dir())
    _finish(run, checkpoint_every, tensorboard=tensorboard, error_terms=not no_error_terms, as_json=as_json)


def _require_to_be_found_again(out: Path | None, resume: Path | None, *, go_on: bool) -> None:
    """Raise InputError if a command that is started again would not find its own run."""
    if go_on and out is None:
        raise InputError("--continue needs to know which run: give its folder with --out")
    if resume is None and not go_on and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise InputError(
            "torchrun --max-restarts starts this command again when a process fails: give --out RUN --continue, so "
            "that it goes on from the last checkpoint"
        )


def _weights(path: Path) -> "InitialWeights":
    from striate.bundle import initial_weights

    return initial_weights(path)


def recipe_of(
    data: str,
    model: str | None,
    name: str | None,
    seed: int | None,
    settings: list[str],
    weights: "InitialWeights | None" = None,
    task: str | None = None,
) -> "Recipe":
    """Return the recipe that a command's options ask for; `weights` of a run or a bundle bring their network along.

    Without `task` it is that of the folder or of the recipe.
    """
    task = task or _task_of(data, name)
    from striate.models import card
    from striate.training import ModelOptions, default_recipe, named_recipe, require_task

    if model and task:
        require_task(model, task)
    if name is None and weights is not None and weights.origin is not None:
        network = card(model or weights.origin.model.name).name
        recipe = weights.recipe(default_recipe(data, network, task), network)
    else:
        recipe = named_recipe(name) if name else default_recipe(data, model, task)
        if model and model != recipe.model.name:
            recipe = recipe.replace(model=ModelOptions(card(model).name))
    asked = [f"data.task={task}"] if task is not None else []
    return recipe.set([*asked, *settings, *([f"seed={seed}"] if seed is not None else [])])


def _task_of(data: str, recipe: str | None) -> str | None:
    """Return the task of a folder that nobody has named one for and that holds pictures with masks, and say so."""
    import sys

    from striate.data import holds_scenes

    if recipe is not None or not holds_scenes(data):
        return None
    print(f"{data}: pictures with masks, so the task is segmentation", file=sys.stderr)
    return "segmentation"


def _without(recipe: "Recipe", exclude: Path) -> "Recipe":
    from dataclasses import replace

    from striate.data import read_exclusion

    return recipe.replace(data=replace(recipe.data, exclude=read_exclusion(exclude)))


def _cache(wanted: bool | None, folder: Path | None) -> Path | Literal[False] | None:
    """Return the folder of caches that was asked for, False for none, None if nothing was said."""
    if wanted is False:
        if folder is not None:
            raise InputError("--no-cache and --cache-folder contradict each other: leave one out")
        return False
    if wanted and folder is None:
        from striate.data import cache_folder

        return cache_folder()
    return folder


def _memory(asked: str | None) -> float | None:
    """Return the MiB of --fit-memory: 0 for auto, None if it was not asked for."""
    if asked is None or asked == "auto":
        return None if asked is None else 0.0
    try:
        if 0 < (mib := float(asked)) < float("inf"):
            return mib
    except ValueError:
        pass
    raise InputError(f"--fit-memory {asked}: expected auto, or how many MiB the training may take")


def _name(data: str, recipe: "Recipe") -> str:
    """Return the usual name of a run's folder."""
    import re

    name = re.split(r"[{*]", Path(data).name)[0].strip("-_.") or "data"  # of a pattern what comes before it
    return f"{name}-{recipe.model.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _resume(
    folder: Path,
    data: str | None,
    data_root: Path | None,
    cache: Path | Literal[False] | None,
    model: str | None,
    seed: int | None,
    settings: list[str] | None,
) -> "Callable[..., Trained]":
    from striate.training import ModelOptions, Run
    from striate.training.processes import current

    run = Run.open(folder, current())
    asked = run.recipe.set([*(settings or []), *([f"seed={seed}"] if seed is not None else [])])
    if model and model != asked.model.name:
        asked = asked.replace(model=ModelOptions(model))
    return _go_on(folder, asked, data, data_root, cache)


def _go_on(
    folder: Path, recipe: "Recipe", data: str | None, data_root: Path | None, cache: Path | Literal[False] | None
) -> "Callable[..., Trained]":
    from striate.training import Run, resume
    from striate.training.processes import current

    Run.open(folder, current()).require_same_recipe(recipe)
    return partial(resume, folder, where=data, data_root=data_root, cache=cache)


def _finish(
    run: "Callable[..., Trained]", checkpoint_seconds: float, *, tensorboard: bool, error_terms: bool, as_json: bool
) -> None:
    from striate.bundle import save_trained
    from striate.cli._show import show
    from striate.cli._signals import stop_on_signal
    from striate.training import Listeners, TensorBoard
    from striate.training.processes import current

    with show() as shown, stop_on_signal(shown.note) as stop:
        listener = Listeners(shown, TensorBoard()) if tensorboard else shown
        trained = run(checkpoint_seconds=checkpoint_seconds, listener=listener, stop=stop, error_terms=error_terms)
        if current().first:
            save_trained(trained)
    if as_json:
        options.print_json(_result(trained))
    else:
        print(trained.evaluation.as_text())
        print(_last_line(trained))


def _result(trained: "Trained") -> dict[str, Any]:
    from striate.training import read_forecast

    run = trained.run
    known = read_forecast(run.forecast)
    foreseen = {} if known is None else {"forecast": known[0].to_json(), "taken": known[1] and known[1]._asdict()}
    return {
        "split": "test",
        **trained.evaluation.to_json(),
        "epochs": len(trained.history),
        "seconds": sum(row["seconds"] for row in trained.history),
        "run": str(run.folder),
        "report": str(run.report),
        "bundle": str(run.bundle),
        **foreseen,
    }


def _last_line(trained: "Trained") -> str:
    from striate.evaluation import Evaluation

    evaluation, run = trained.evaluation, trained.run
    places = f"run {run.folder}, report {run.report}, bundle {run.bundle}"
    if not isinstance(evaluation, Evaluation):
        return (
            f"test mean IoU {100 * evaluation.mean_iou:.2f} %, pixels right {100 * evaluation.accuracy:.2f} % "
            f"({evaluation.pictures} pictures); {places}"
        )
    low, high = evaluation.interval
    return (
        f"test accuracy {100 * evaluation.accuracy:.2f} % ({evaluation.correct} of {evaluation.total}, "
        f"95 % interval {100 * low:.2f} to {100 * high:.2f} %); {places}"
    )
