"""`striate models`: the networks."""

import typer

from striate.cli import _options as options


def models(as_json: options.Json = False) -> None:
    """List the networks with their papers and departures.

    Example:

    striate models --json
    """
    from striate.models import card, names

    cards = [card(name) for name in names()]
    if as_json:
        options.print_json([row._asdict() for row in cards])
        return
    for row in cards:
        typer.secho(row.name, bold=True)
        print(f"  {row.title}\n  {row.paper}")
        print("  departures: " + ("none" if not row.departures else "; ".join(row.departures)))
