"""`striate evaluate`: what a finished model is worth on data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli import _options as options

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from striate.bundle import Bundle
    from striate.data import ImageData, ImageSplit, Progress
    from striate.evaluation import Evaluation, SceneEvaluation

_SCENES = 8  # pictures with masks at a time: logits for every pixel are large


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder or a bundle.", show_default=False)],
    data: Annotated[
        str, typer.Argument(help="A known data set, a folder of images, shards, or series.", show_default=False)
    ],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    data_root: options.DataRoot = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be decoded, and say so.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per batch.")] = 256,
    precision: options.Precision = None,
    threads: options.Threads = None,
    no_native: options.NoNative = False,
    keep_memory: options.KeepMemory = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report to this file.", show_default=False)] = None,
    as_json: options.Json = False,
) -> None:
    """Measure a model on a split: accuracy with interval, per class, calibration, confusions; or IoU per class.

    A folder that has class folders only is taken whole, unless it is what the model was trained on: then only what
    was set aside counts. The classes must be the model's.

    Examples:

    striate evaluate runs/digits digits

    striate evaluate model.striate photos/ --json --report report.html
    """
    asked = options.runtime_options(precision, threads, no_native, keep_memory)

    from striate.bundle import load
    from striate.evaluation import write_report
    from striate.runtime import choose_for_use

    bundle = load(options.bundle_path(model))
    with choose_for_use(asked, trained=bundle.provenance.get("runtime")).applied():
        opened, result = _measure(bundle, data, split, data_root, batch_size, skip_unreadable=skip_unreadable)
    images = opened.splits[split]
    if split == "test":
        _log_use(model, opened, result)
    if report is not None:
        write_report(
            report,
            title=f"{bundle.model_name} on {opened.name}",
            evaluation=result,
            history=[],
            facts={"Model": str(model), "Data": f"{opened.name}, {split} split, {len(images):,} pictures"},
            pictures=_pictures(bundle, opened, split),
            colours=bundle.masks.colours if bundle.masks else (),
            unreadable=opened.unreadable,
        )
    if as_json:
        options.print_json(
            {"split": split, "unreadable": len(opened.unreadable), "excluded": len(opened.excluded), **result.to_json()}
        )
    else:
        print(result.as_text())


def _pictures(bundle: "Bundle", opened: "ImageData", split: str) -> "Callable[[int], npt.NDArray[np.uint8]]":
    """Return what shows a picture of the split; scenes with their masks and the model's beside them."""
    from functools import partial

    from striate.data import require_pictures, require_scenes
    from striate.evaluation import scene_views

    images = opened.splits[split]
    if bundle.masks is None:
        return lambda index: images.load([index])[0]
    return partial(scene_views, bundle.model, require_scenes(images), require_pictures(bundle.preprocessing))


def _log_use(model: Path, opened: "ImageData", result: "Evaluation | SceneEvaluation") -> None:
    """Note in the run that the model comes from, if it lies in one, that a test split was looked at."""
    import sys

    from striate.errors import StriateError
    from striate.training import Run, evaluated, log_use

    folder = model if model.is_dir() else model.parent
    if not (folder / "run.json").is_file():
        return
    try:
        own = opened.fingerprint == Run.open(folder).test_fingerprint
        log_use(folder, evaluated("evaluate", opened.name, "model.striate", result.correct, result.total, own=own))
    except StriateError as error:  # a run that may only be read can still be evaluated
        print(f"this use of the test split is not noted in the run: {error}", file=sys.stderr)


def _measure(
    bundle: "Bundle", data: str, split: str, data_root: Path | None, batch_size: int, *, skip_unreadable: bool
) -> "tuple[ImageData, Evaluation | SceneEvaluation]":
    """Open the split as the bundle's recipe divides and prepares it, and judge the model on it."""
    from dataclasses import replace

    from striate.cli._show import show
    from striate.data import DataOptions, open_for_evaluation
    from striate.training import Recipe

    recipe = Recipe.from_json(bundle.provenance["recipe"]) if "recipe" in bundle.provenance else None
    chosen = recipe.data if recipe else DataOptions()
    with show() as listener:
        opened = open_for_evaluation(
            data,
            bundle.preprocessing,
            bundle.classes,
            split=split,
            seed=recipe.seed if recipe else 0,
            options=replace(chosen, unreadable="skip" if skip_unreadable else "error"),
            trained_on=bundle.provenance.get("fingerprint"),
            data_root=data_root,
            progress=listener.progress,
            masks=bundle.masks,
        )
        result = _judged(bundle, opened.splits[split], batch_size, listener.progress)
        for file in opened.unreadable:
            listener.note(f"left out {file.path}: {file.reason}")
        if opened.excluded:
            listener.note(f"left out {len(opened.excluded):,} files that the training excluded")
    return opened, result


def _judged(
    bundle: "Bundle", images: "ImageSplit", batch_size: int, progress: "Progress"
) -> "Evaluation | SceneEvaluation":
    from striate.data import require_pictures, require_scenes
    from striate.evaluation import judge, judge_scenes, predict_logits
    from striate.runtime import current

    runtime, preprocessing = current(), bundle.preprocessing
    # in float32 not the prepared one, so that what training said is found again to the last bit
    model = bundle.network() if runtime is not None and runtime.precision == "bf16" else bundle.model
    if bundle.masks is not None:
        few = min(batch_size, _SCENES)
        return judge_scenes(
            model,
            require_scenes(images),
            require_pictures(preprocessing),
            bundle.classes,
            batch_size=few,
            progress=progress,
        )
    logits = predict_logits(model, images, preprocessing, batch_size=batch_size, progress=progress)
    return judge(logits, images.labels, bundle.classes, images.ids, temperature=bundle.temperature)
