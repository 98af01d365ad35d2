"""`striate models`: the networks, and their figures against those of the papers."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli import _options as options
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.insight import Checked
    from striate.models import Card


def models(
    network: Annotated[str | None, typer.Argument(help="One network; default: all.", show_default=False)] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Count every figure that the papers print, and compare.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List the networks with their papers and departures.

    With --check, exit code 1 if a figure is another than the paper's without a stated departure.

    Examples:

    striate models --json

    striate models --check lenet5
    """
    from striate.models import card, names

    cards = [card(name) for name in ([network] if network else names())]
    if check:
        _check([row.name for row in cards], as_json=as_json)
    elif as_json:
        options.print_json([row._asdict() for row in cards])
    else:
        _list(cards)


def _list(cards: "list[Card]") -> None:
    for row in cards:
        typer.secho(row.name, bold=True)
        print(f"  {row.title}\n  {row.paper}")
        print(f"  for {row.task}")
        print("  departures: " + ("none" if not row.departures else "; ".join(row.departures)))
        if row.elsewhere:
            print("  elsewhere: " + "; ".join(row.elsewhere))


def _check(names: list[str], *, as_json: bool) -> None:
    from striate.insight import check_published

    found: dict[str, list[Checked]] = {}
    for name in names:
        try:
            found[name] = check_published(name)
        except InputError as error:
            raise InputError(f"models --check: {error}") from None
    if as_json:
        options.print_json({name: [_row(checked) for checked in rows] for name, rows in found.items()})
    else:
        _show(found)
    if not all(checked.agrees for rows in found.values() for checked in rows):
        raise typer.Exit(1)


def _row(checked: "Checked") -> dict[str, Any]:
    figure = checked.figure._asdict()
    figure["paper"], figure["stated"] = figure.pop("value"), figure.pop("ours")
    return {**figure, "ours": checked.ours, "agrees": checked.agrees}


def _show(found: "dict[str, list[Checked]]") -> None:
    for name, rows in found.items():
        typer.secho(name, bold=True)
        if not rows:
            print("  the paper prints no figures, or none is recorded")
        for checked in rows:
            figure = checked.figure
            verdict = "disagrees" if not checked.agrees else "" if figure.ours is None else f"departs: {figure.departs}"
            what = f"{figure.layer or 'the network'}, {figure.quantity.replace('_', ' ')}"
            if figure.without:
                what += f" without {', '.join(figure.without)}"
            paper, ours = (_figure(value) for value in (figure.value, checked.ours))
            about = f" +- {figure.tolerance:,}" if figure.tolerance else ""
            print(f"  {what:<36} paper {paper + about:>16} | ours {ours:>16} | {figure.source}  {verdict}".rstrip())
    every = [checked for rows in found.values() for checked in rows]
    departures = sum(checked.agrees and checked.figure.ours is not None for checked in every)
    wrong = sum(not checked.agrees for checked in every)
    agree = len(every) - departures - wrong
    print(f"{len(every)} figures: {agree} agree, {departures} depart as stated, {wrong} disagree")


def _figure(value: int | tuple[int, ...] | None) -> str:
    if value is None:
        return "no such layer"
    return " x ".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}"
