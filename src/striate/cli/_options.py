"""Options that several commands share, and how results are printed for programs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer

from striate.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from striate.runtime import RuntimeOptions

DataRoot = Annotated[
    Path | None,
    typer.Option(help="Where the data set's files already are; nothing is downloaded then.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

PrecisionName = Literal["exact", "high", "bf16"]
Precision = Annotated[
    str | None,
    typer.Option(help="exact, high or bf16 (see `striate runtime`); default: what is best here.", show_default=False),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.", show_default=False)]
NoNative = Annotated[bool, typer.Option("--no-native", help="Compute without Striate's own kernels.")]
KeepMemory = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=2047,
        metavar="MIB",
        help="The most freed memory to keep for the next step, 0 for none; default: any.",
        show_default=False,
    ),
]


def runtime_options(
    precision: str | None, threads: int | None, no_native: bool, keep_memory: int | None
) -> "RuntimeOptions":
    """Return what the flags ask of the runtime; raises InputError for an unknown precision."""
    known = get_args(PrecisionName)
    if precision is not None and precision not in known:
        raise InputError(f"--precision {precision}: no such precision{did_you_mean(precision, known)}")

    from striate.runtime import RuntimeOptions

    return RuntimeOptions(
        precision=cast("PrecisionName | None", precision),
        threads=threads,
        native=False if no_native else None,
        keep_memory=None if keep_memory is None else keep_memory > 0,
        keep_mib=keep_memory or 0,
    )


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
