"""A command that several processes carry out together when torchrun starts them."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def together(command: Callable[P, R]) -> Callable[P, R]:
    """Return the command for all processes that torchrun has started; what ends one of them ends all."""

    @wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        from striate.training.processes import joined

        with joined():
            return command(*arguments, **options)

    return run
