"""`striate report`: the HTML of a run, written anew."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli import _options as options


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; default: report.html in the run folder.", show_default=False)
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data is now, if it has moved.", show_default=False)
    ] = None,
    data_root: options.DataRoot = None,
) -> None:
    """Write the report of a run: curves, classes, confusion, calibration, mistakes, filters, error terms, cost.

    Nothing is evaluated anew: the numbers are those that training wrote. A run that is under way, interrupted or
    diverged has a report too.

    Examples:

    striate report runs/digits

    striate report runs/flowers --out flowers.html --data photos/
    """
    from striate.cli._show import show
    from striate.training import Run, read_forecast
    from striate.training import report as write

    with show() as listener:
        path, reason = write(run, out, where=data, data_root=data_root, progress=listener.progress)
        if reason:
            listener.note(reason)
        known = read_forecast(Run.open(run).forecast)
        if known is not None and known[1] is not None:
            listener.note(known[1].beside(known[0]))
    print(path)
