"""Options that several commands share, and how results are printed for programs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

DataRoot = Annotated[
    Path | None,
    typer.Option(help="Where the data set's files already are; nothing is downloaded then.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def print_json(value: Any) -> None:
    """Print a value as indented JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
