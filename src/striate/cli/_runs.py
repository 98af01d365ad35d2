"""`striate runs`: what was trained, and how runs compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli import _options as options
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.training import Overview

_USUAL_WIDTH = 160  # columns in a file or pipe
_LESS = ("recipe", "when", "time", "data", "model", "val")  # left out in this order where the terminal is narrow
_NUMBERS = {"epochs", "val", "test", "time"}


def runs(
    places: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Where to look; default: runs.", show_default=False),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare the run folders that are named: settings and results.")
    ] = False,
    sort: Annotated[str, typer.Option(metavar="when|val|name", help="The order: newest, best or by name.")] = "when",
    as_json: options.Json = False,
) -> None:
    """List the runs in a folder and all below it, or compare some of them.

    val: the best validation accuracy (mean IoU of masks), by which the weights were chosen. test: the same on the test
    split, with how often it was looked at if more than once. There is no order by test: who chooses by it has no test
    split any more.

    Examples:

    striate runs

    striate runs experiments/ --sort val

    striate runs --compare runs/a runs/b
    """
    if sort not in _ORDERS:
        raise InputError(f"--sort {sort}: must be when, val or name; choose by validation, never by the test split")
    if compare:
        _compare(places or [], as_json=as_json)
        return

    from striate.training import find_runs

    found: list[Overview] = []
    damaged: dict[Path, str] = {}
    places = places or [Path("runs")]
    for folder in places:
        some, others = find_runs(folder)
        found, damaged = found + some, damaged | others
    found = sorted(sorted(found, key=_ORDERS["name"]), key=_ORDERS[sort], reverse=sort != "name")
    if as_json:
        reasons = [{"run": str(folder), "reason": reason} for folder, reason in damaged.items()]
        options.print_json({"runs": [one.to_json() for one in found], "damaged": reasons})
        return
    if found:
        print("\n".join(_fitted([_cells(one) for one in found], _width())))
    else:
        print(f"no runs in {', '.join(map(str, places))}; begin with: striate train digits")
    for reason in damaged.values():
        print(reason)


def _by_name(one: "Overview") -> Any:
    return str(one.run.folder)


def _by_val(one: "Overview") -> Any:
    return -1.0 if one.best_val is None else one.best_val


def _by_when(one: "Overview") -> Any:
    return one.run.created


_ORDERS = {"when": _by_when, "val": _by_val, "name": _by_name}


def _cells(one: "Overview") -> dict[str, str]:
    """A run's row, by the columns' names."""
    from striate.evaluation import duration, percent, printable

    run, times = one.run, len(one.uses)
    test = percent(one.test) if one.test is not None else ""
    return {
        "run": printable(run.folder),
        "recipe": printable(run.recipe.name),
        "model": run.recipe.model.name,
        "data": printable(Path(run.where).name),
        "epochs": f"{len(one.history)}/{run.recipe.epochs}",
        "state": one.state,
        "val": percent(one.best_val) if one.best_val is not None else "",
        "test": f"{test} ({times} uses)" if times > 1 else test,
        "time": duration(one.seconds),
        "when": run.created[:16].replace("T", " "),
    }


def _fitted(rows: Sequence[dict[str, str]], width: int) -> list[str]:
    """Lay out a table; columns that matter least go first where there is no room, then the middle of long names."""
    columns = list(rows[0])
    for column in _LESS:
        if _needed(rows, columns) <= width:
            break
        columns.remove(column)
    spare = width - _needed(rows, [c for c in columns if c != "run"]) - 2
    rows = [{**row, "run": _shortened(row["run"], max(spare, 12))} for row in rows]
    return _table([columns, *([row[column] for column in columns] for row in rows)])


def _needed(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> int:
    return sum(max(len(column), *(len(row[column]) for row in rows)) + 2 for column in columns) - 2


def _shortened(name: str, most: int) -> str:
    """Leave out the beginning of a long path: its end tells runs apart."""
    return name if len(name) <= most else "…" + name[1 - most :]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    from rich.cells import cell_len

    widths = [max(cell_len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for name, cell, width in zip(rows[0], row, widths, strict=True):
            space = " " * (width - cell_len(cell))
            cells.append(space + cell if name in _NUMBERS else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def _compare(folders: Sequence[Path], *, as_json: bool) -> None:
    if len(folders) < 2:
        raise InputError("--compare: name two run folders or more, for example: striate runs --compare runs/a runs/b")

    from striate.training import Overview, settings_that_differ

    found = [Overview.open(folder) for folder in folders]
    differing = settings_that_differ([one.run for one in found])
    if as_json:
        options.print_json({"runs": [one.to_json() for one in found], "differences": differing})
        return
    names = [_letters(k) for k in range(len(found))]
    print("\n".join(f"{name}  {one.run.folder}" for name, one in zip(names, found, strict=True)))
    print("\nsettings that differ" if differing else "\nall settings are the same")
    if differing:
        print("\n".join(_table([["", *names], *([key, *map(_value, row)] for key, row in differing.items())])))
    print("\nresults")
    print("\n".join(_table([["", *names], *_results(found)])))


def _letters(k: int) -> str:
    return chr(ord("A") + k) if k < 26 else f"R{k + 1}"


def _value(value: Any) -> str:
    import json

    text = value if isinstance(value, str) else json.dumps(value)
    return _shortened(text, 40) or '""'


def _results(found: "Sequence[Overview]") -> list[list[str]]:
    from striate.evaluation import duration, percent

    rows = [
        ("state", [one.state for one in found]),
        ("epochs", [f"{len(one.history)}/{one.run.recipe.epochs}" for one in found]),
        ("best epoch", [str(one.best_epoch or "") for one in found]),
        ("best val", [percent(one.best_val) for one in found]),
        ("test", [percent(one.test) for one in found]),
        ("  95 % interval", [" to ".join(map(percent, one.interval)) if one.interval else "" for one in found]),
        ("  uses of the split", [str(len(one.uses)) for one in found]),
        ("time", [duration(one.seconds) for one in found]),
    ]
    return [[name, *cells] for name, cells in rows]


def _width() -> int:
    import shutil
    import sys

    return shutil.get_terminal_size((_USUAL_WIDTH, 24)).columns if sys.stdout.isatty() else _USUAL_WIDTH
