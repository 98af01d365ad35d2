"""`striate cache`: what decoded pictures are kept on disk, and how to be rid of them."""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli import _options as options


def cache(
    folder: Annotated[
        Path | None, typer.Option(help="The folder of caches; default: the user's.", show_default=False)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of them.")] = False,
    as_json: options.Json = False,
) -> None:
    """List the decoded pictures that `striate train DATA --cache` keeps on disk, with place and size.

    Examples:

    striate cache

    striate cache --clear
    """
    from striate.data import Cache, amount, cache_folder

    caches = Cache(folder or cache_folder())
    found = caches.stored()
    total = sum(each.bytes for each in found)
    if clear:
        caches.clear()
    if as_json:
        rows = [
            {"path": str(each.path), "bytes": each.bytes, "pictures": each.pictures, **each.about} for each in found
        ]
        options.print_json({"folder": str(caches.folder), "bytes": total, "cleared": clear, "caches": rows})
        return
    for each in [] if clear else found:
        typer.secho(f"{each.path.name}  {amount(each.bytes)}", bold=True)
        print(f"  {each.description}")
    kept = f"{len(found)} cache{'s' * (len(found) != 1)}, {amount(total)}"
    print(f"{caches.folder}: {f'removed {kept}' if clear else kept}")
