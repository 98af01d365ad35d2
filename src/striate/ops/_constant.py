"""A mark for torch.compile that does not load torch.compile."""

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def constant(function: F) -> F:
    """Mark a function whose result torch.compile takes for a constant: what it reads or imports cannot be traced.

    `torch.compiler.assume_constant_result` does the same and loads the compiler for it, a second or more.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
