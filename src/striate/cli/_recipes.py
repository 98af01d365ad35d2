"""`striate recipes`: how networks are trained."""

from typing import Annotated

import typer

from striate.cli import _options as options


def recipes(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/recipes.md.")] = False,
    as_json: options.Json = False,
) -> None:
    """List the recipes and what they do otherwise than their papers; NAME_smoke is the small twin of NAME.

    Examples:

    striate recipes

    striate train digits --recipe resnet-cifar-20_smoke
    """
    from striate.training import RECIPES, departures, named_recipe
    from striate.training.recipes import row, table

    if markdown:
        print(table())
    elif as_json:
        options.print_json([{**named_recipe(name).to_json(), "departures": departures(name)} for name in RECIPES])
    else:
        for name in RECIPES:
            words = row(name)
            typer.secho(name, bold=True)
            print(f"  {words.optimiser}\n  {words.rate}; batches of {words.batch}, {words.epochs} epochs")
            print("  departures: " + ("; ".join(departures(name)) or "none"))
