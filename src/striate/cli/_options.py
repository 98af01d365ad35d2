"""Options that several commands share, and how results are printed for programs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from striate.errors import InputError

DataRoot = Annotated[
    Path | None,
    typer.Option(help="Where the data set's files already are; nothing is downloaded then.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def print_json(value: Any) -> None:
    """Print a value as indented JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def bundle_path(path: Path) -> Path:
    """Return the bundle's path: `path` itself, or the bundle of the run folder `path`."""
    if (path / "run.json").is_file() or (path.is_dir() and (path / "model.striate").is_file()):
        bundle = path / "model.striate"
        if not bundle.is_file():
            raise InputError(f"{path}: this run has no bundle yet; finish it with: striate train --resume {path}")
        return bundle
    return path
