"""Runs the command line inside the test's process, as a user would from a shell, or as one without privileges."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

from striate.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def striate(*arguments: object, stdin: str = "") -> Outcome:
    """Run `striate ARGUMENTS` and return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["striate", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Be an ordinary user for a while, whom permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
