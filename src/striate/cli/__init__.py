"""The command `striate`: one small file per command, heavy imports inside the command."""

from striate.cli._app import main

__all__ = ["main"]
