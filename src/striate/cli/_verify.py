"""`striate verify`: does a bundle still compute what it computed when it was saved?"""

from pathlib import Path
from typing import Annotated

import typer

from striate.cli import _options as options


def verify(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle, for example runs/digits/model.striate.", show_default=False)
    ],
    as_json: options.Json = False,
) -> None:
    """Check a bundle: the file's checksums, then its golden pictures through the network on this machine.

    Exit code 0 if all is well, 1 if the outputs differ, 2 if the file is damaged.

    Example:

    striate verify runs/digits/model.striate
    """
    from striate.bundle import verify as check

    result = check(bundle)
    if as_json:
        options.print_json(result.to_json())
    else:
        print(result.as_text())
    if not result.passed:
        raise typer.Exit(1)
