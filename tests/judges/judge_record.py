"""What a judge says of an operator: how many cases, and how far off the worst was."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]


class Comparison(NamedTuple):
    """One case: an operator, computed by an implementation in a dtype, beside what a judge says it must be."""

    operator: str
    judge: str
    impl: str
    dtype: str
    error: float


class Verdict(NamedTuple):
    """All cases of one operator, judge, implementation and dtype: their number and the worst relative error."""

    operator: str
    judge: str
    impl: str
    dtype: str
    cases: int
    worst: float


def relative_error(result: Any, expected: Array) -> float:
    """Return the largest deviation over the largest value expected; NaN or another shape is infinitely wrong."""
    result = result.detach().double().numpy() if isinstance(result, torch.Tensor) else np.asarray(result, np.float64)
    if result.shape != expected.shape:
        return float("inf")
    if not result.size:
        return 0.0
    expected = expected.astype(np.float64)
    scale = np.abs(expected).max()
    error = float(np.abs(result - expected).max() / (scale if scale > 0 else 1.0))
    return error if error == error else float("inf")


def summarize(comparisons: Iterable[Comparison]) -> list[Verdict]:
    """Return a verdict for each operator, judge, implementation and dtype, in the order in which they came."""
    errors: dict[tuple[str, str, str, str], list[float]] = {}
    for comparison in comparisons:
        errors.setdefault(comparison[:4], []).append(comparison.error)
    return [Verdict(*key, len(each), max(each)) for key, each in errors.items()]
