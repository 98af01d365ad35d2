"""`striate evaluate`: what a finished model is worth on data."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli import _options as options


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder or a bundle.", show_default=False)],
    data: Annotated[str, typer.Argument(help="A known data set or a folder of images.", show_default=False)],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    data_root: options.DataRoot = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be decoded, and say so.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per batch.")] = 256,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report to this file.", show_default=False)] = None,
    as_json: options.Json = False,
) -> None:
    """Measure a model on a split: accuracy with interval, per class, calibration, confusions.

    A folder that has class folders only is taken whole, unless it is what the model was trained on: then only what
    was set aside counts. The classes must be the model's.

    Examples:

    striate evaluate runs/digits digits

    striate evaluate model.striate photos/ --json --report report.html
    """
    from dataclasses import replace

    from striate.bundle import load
    from striate.cli._show import show
    from striate.data import open_for_evaluation
    from striate.evaluation import judge, predict_logits, write_report
    from striate.training import Recipe

    bundle = load(options.bundle_path(model))
    recipe = Recipe.from_json(bundle.provenance["recipe"]) if "recipe" in bundle.provenance else None
    chosen = recipe.data if recipe else None
    if chosen is not None:
        chosen = replace(chosen, unreadable="skip" if skip_unreadable else "error")
    with show() as listener:
        opened = open_for_evaluation(
            data,
            bundle.preprocessing,
            bundle.classes,
            split=split,
            seed=recipe.seed if recipe else 0,
            options=chosen,
            trained_on=bundle.provenance.get("fingerprint"),
            data_root=data_root,
            progress=listener.progress,
        )
        images = opened.splits[split]
        logits = predict_logits(
            bundle.model,
            images,
            bundle.preprocessing,
            batch_size=batch_size,
            progress=listener.progress,
        )
        for file in opened.unreadable:
            listener.note(f"left out {file.path}: {file.reason}")
    result = judge(logits, images.labels, bundle.classes, images.ids, temperature=bundle.temperature)
    if report is not None:
        write_report(
            report,
            title=f"{bundle.model_name} on {opened.name}",
            evaluation=result,
            history=[],
            facts={"Model": str(model), "Data": f"{opened.name}, {split} split, {len(images):,} pictures"},
            pictures=lambda index: images.load([index])[0],
            unreadable=opened.unreadable,
        )
    if as_json:
        options.print_json({"split": split, "unreadable": len(opened.unreadable), **result.to_json()})
    else:
        print(result.as_text())
