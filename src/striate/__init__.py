"""Striate: convolutional networks that people can train, understand, ship - and check.

The rooms are imported when they are first used, so that `import striate` costs next to nothing.
"""

from importlib import import_module
from typing import Any

from striate.errors import InputError, StriateError

_ROOMS = ("bundle", "data", "evaluation", "geometry", "models", "nn", "ops", "reference", "training")
__all__ = ["InputError", "StriateError", "__version__", *_ROOMS]  # noqa: PLE0604 (names of submodules)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("striate")
    if name in _ROOMS:
        return import_module(f"striate.{name}")
    raise AttributeError(f"module 'striate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
