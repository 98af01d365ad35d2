"""Puts the commands together and turns what goes wrong into one sentence and an exit code."""

import io
import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from striate.cli import (
    _cache,
    _compare,
    _datasets,
    _doctor,
    _evaluate,
    _inspect,
    _lr,
    _models,
    _predict,
    _recipes,
    _report,
    _runs,
    _runtime,
    _shards,
    _train,
    _verify,
)
from striate.errors import InputError, Interrupted, StriateError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="striate",
    help="Train, check and ship convolutional networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: striate train digits",
)
app.command("train")(_train.train)
app.command("lr")(_lr.lr)
app.command("doctor")(_doctor.doctor)
app.command("evaluate")(_evaluate.evaluate)
app.command("runs")(_runs.runs)
app.command("report")(_report.report)
app.command("predict")(_predict.predict)
app.command("verify")(_verify.verify)
app.command("inspect")(_inspect.inspect)
app.command("compare")(_compare.compare)
app.command("models")(_models.models)
app.command("datasets")(_datasets.datasets)
app.command("cache")(_cache.cache)
app.command("recipes")(_recipes.recipes)
app.command("runtime")(_runtime.runtime)
app.command("shards")(_shards.shards)


def _version(asked: bool) -> None:
    if asked:
        from striate import __version__

        typer.echo(f"striate {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback when something goes wrong.")] = False,
) -> None:
    """Options that come before the command."""


def main() -> NoReturn:
    """Run the command line: exit code 0 done, 1 failed, 2 bad input, 130 interrupted; no traceback but with --debug."""
    debug = "--debug" in sys.argv[1:2]
    _before_torch()
    errors = sys.stderr
    if "train" in sys.argv[1:3] and os.environ.get("RANK", "0") != "0":  # of several processes one speaks
        sys.stdout = sys.stderr = io.StringIO()
    try:
        app()
    except BaseException as error:
        code, sentence = _explain(error)
        if debug and not isinstance(error, SystemExit):
            traceback.print_exc(file=errors)
        if sentence:
            print(f"striate: {sentence}", file=errors)
        sys.exit(code)
    sys.exit(0)


def _before_torch() -> None:
    """Let threads that wait sleep instead of spinning, on a busy machine several times as fast; what is set stays.

    The threads' library reads it when PyTorch is loaded.
    """
    if "torch" not in sys.modules:  # else this is another program, and too late
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _explain(error: BaseException) -> tuple[int | str | None, str]:
    if isinstance(error, SystemExit):
        return error.code, ""
    if isinstance(error, StriateError):
        code = BAD_INPUT if isinstance(error, InputError) else INTERRUPTED if isinstance(error, Interrupted) else FAILED
        return code, "" if error.told else str(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return FAILED, ""
    if isinstance(error, MemoryError):
        return (
            FAILED,
            "out of memory: try a smaller batch (--set batch_size=32) or smaller images (--set data.size=32,32)",
        )
    if isinstance(error, OSError):
        return FAILED, f"{error.filename or 'a file'}: {error.strerror or error}"
    return FAILED, (
        f"an unexpected error, {type(error).__name__}: {error}; this is a fault in Striate, "
        "please report it with what `striate --debug ...` prints"
    )
