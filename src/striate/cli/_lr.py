"""`striate lr`: which learning rate fits a recipe and its data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli import _options as options
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.training import LrRange, Recipe

_ROWS = 24  # of the picture in the terminal
_BAR = 34


def lr(
    data: Annotated[str, typer.Argument(help="A known data set or a folder of images.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="The network; default: the recipe's.", show_default=False)] = None,
    recipe: Annotated[
        str | None, typer.Option(help="The recipe; default: the one for the data and model.", show_default=False)
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|BUNDLE|RUN",
            help="Begin with these weights, as training will: of any library, of a bundle, of a run.",
            show_default=False,
        ),
    ] = None,
    data_root: options.DataRoot = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of everything random; default 0.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of the recipe; may be repeated."),
    ] = None,
    lowest: Annotated[float, typer.Option("--from", metavar="RATE", help="The first rate.")] = 1e-6,
    highest: Annotated[float, typer.Option("--to", metavar="RATE", help="The last rate.")] = 10.0,
    steps: Annotated[int, typer.Option(help="How many steps the rate rises over.")] = 200,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Write the picture too.", show_default=False)
    ] = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    no_native: options.NoNative = False,
    keep_memory: options.KeepMemory = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    as_json: options.Json = False,
) -> None:
    """Find a learning rate: a throwaway network is trained with a rate that rises until the loss runs away.

    This is Smith's range test (2017) on the recipe's network, data, augmentation, loss, optimiser and batches. A tenth
    of the rate at which the loss runs away is suggested, or where it never does the one at which it falls fastest.
    Nothing of it touches a run.

    Examples:

    striate lr digits

    striate lr photos/ --model resnet-18 --out rates.svg
    """
    from striate.bundle import initial_weights
    from striate.cli._show import show
    from striate.cli._signals import stop_on_signal
    from striate.cli._train import recipe_of
    from striate.training import lr_range

    if out is not None and out.suffix.lower() != ".svg":
        raise InputError(f"--out {out}: the picture is an SVG file; give a name that ends in .svg")
    initial = None if weights is None else initial_weights(weights)
    chosen = recipe_of(data, model, recipe, seed, settings or [], initial)
    with show() as listener, stop_on_signal(listener.note) as stop:
        found = lr_range(
            chosen,
            data,
            data_root=data_root,
            runtime=options.runtime_options(precision, threads, no_native, keep_memory),
            device=device,
            lowest=lowest,
            highest=highest,
            steps=steps,
            listener=listener,
            stop=stop,
            weights=initial,
        )
    if out is not None:
        _draw(found, chosen, out)
    if as_json:
        options.print_json({**found.to_json(), "recipe": chosen.name, "recipe_lr": chosen.optimizer.lr})
    else:
        print("\n".join([*picture(found), "", *_words(found, chosen)]))


def picture(found: "LrRange") -> list[str]:
    """Draw the smoothed loss over the rate, a line for some rates, bars from 0 to the highest before it runs away."""
    readings = [reading for reading in found.readings if reading.smoothed is not None]
    if not readings:
        return []
    full = max(reading.smoothed or 0.0 for reading in readings) or 1.0
    step = max(1, -(-len(readings) // _ROWS))
    shown = sorted({*range(0, len(readings), step), len(readings) - 1})
    marks: dict[int, str] = {}
    for word, rate in (("suggested", found.suggestion), ("runs away", found.exploded)):
        if rate is not None:
            nearest = min(shown, key=lambda k: abs(_decades(readings[k].rate, rate)))
            marks[nearest] = f"{marks[nearest]}, {word}" if nearest in marks else word
    lines = ["    rate      loss"]
    for k in shown:
        loss = readings[k].smoothed or 0.0
        bar = "█" * max(1, round(_BAR * loss / full))
        lines.append(f"{readings[k].rate:8.1e}  {loss:8.4g}  {bar}" + (f"  < {marks[k]}" if k in marks else ""))
    return lines


def _decades(rate: float, other: float) -> float:
    import math

    return math.log10(rate / other)


def _words(found: "LrRange", recipe: "Recipe") -> Sequence[str]:
    if found.suggestion is None:
        return [f"suggested rate: {found.rule}"]
    return [
        f"suggested rate: {found.suggestion:.2g}, {found.rule}",
        f"the recipe {recipe.name} has {recipe.optimizer.lr:g} ({recipe.optimizer.name}); to take this one: "
        f"--set optimizer.lr={found.suggestion:.2g}",
    ]


def _draw(found: "LrRange", recipe: "Recipe", out: Path) -> None:
    from striate.evaluation import Series, line_chart, standalone
    from striate.files import write_text

    rates = [reading.rate for reading in found.readings]
    losses = [reading.loss for reading in found.readings]
    smoothed = [reading.smoothed for reading in found.readings]
    series = [Series("loss", "train", rates, losses), Series("smoothed", "val", rates, smoothed)]
    drawn = [value for value in (*losses, *smoothed) if value is not None]
    for word, rate in (("suggested", found.suggestion), ("runs away", found.exploded)):
        if rate is not None and drawn:
            series.append(Series(f"{word} at {rate:.2g}", "mark", [rate, rate], [min(drawn), max(drawn)]))
    title = f"{recipe.model.name}: loss over a rising rate, {recipe.optimizer.name}"
    marks = [word for word in (line.name for line in series) if " at " in word]
    x_label = "learning rate" + (f" (red: {', '.join(marks)})" if marks else "")
    write_text(out, standalone(line_chart(title, series, x_label=x_label, log=True, log_x=True)))
