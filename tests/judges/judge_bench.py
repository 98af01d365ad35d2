"""Every operator before every judge that can judge it, over seeded random calls."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from judge_arrays import ARRAYS
from judge_differences import gradient_error, gradient_of
from judge_draws import DRAWS, Call, draw
from judge_record import Comparison, relative_error
from judge_torch import TORCH
from torch import Tensor

from striate import ops

IMPLEMENTATIONS = (
    "aten",
    "reference",
)  # of every operator in every dtype; the native ones are judged in test_native.py
DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}

# largest error allowed, relative to the largest output. A sum of some tens of products loses one or two digits of a
# dtype; the sums for bfloat16 are rounded once (reference) or a few times (aten)
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 3e-2}
# central differences: half of the digits go with the step
DIFFERENCES_TOLERANCE = {"float64": 1e-6}
# what PyTorch does not offer on a CPU: (implementation, dtype, operator, spatial axes)
NOT_OFFERED = {("aten", "bfloat16", operator, 3) for operator in ("avg_pool", "subsample")}
DIFFERENCES, SECOND = "finite differences", "finite differences of gradients"
GRADIENTS = "torch.nn.functional, gradients"
FUNCTIONAL = "torch.nn.functional"


def tolerance(judge: str, dtype: str) -> float:
    """Return the largest relative error that passes."""
    return DIFFERENCES_TOLERANCE[dtype] if judge in (DIFFERENCES, SECOND) else TOLERANCE[dtype]


def operators() -> list[str]:
    return list(DRAWS)


def judges_of(operator: str) -> list[str]:
    """Return the judges that know an operator."""
    arrays = [name for name, row in ARRAYS.items() if operator in row]
    return [FUNCTIONAL, GRADIENTS, *arrays, DIFFERENCES, SECOND]


def pairs(operator: str) -> list[tuple[str, str]]:
    """Return every (judge, implementation) that must run cases; the reference has no double backward."""
    return [
        (judge, impl)
        for judge in judges_of(operator)
        for impl in IMPLEMENTATIONS
        if (judge, impl) != (SECOND, "reference")
    ]


def compare(operator: str, seeds: range) -> Iterator[Comparison]:
    """Yield what every judge says of every implementation in every dtype on the calls of these seeds."""
    for seed in seeds:
        call = draw(operator, seed)
        for name, dtype in DTYPES.items():
            yield from _values(rounded(call, dtype), name)
        yield from _gradients(call, seed)


def rounded(call: Call, dtype: torch.dtype) -> Call:
    """Return the call with operands that the dtype can hold, so that only computing in it can go wrong."""
    operands = {name: torch.from_numpy(a).to(dtype).double().numpy() for name, a in call.operands.items()}
    return call._replace(operands=operands)


def ours(call: Call, operands: dict[str, Tensor], impl: str) -> Tensor:
    """Compute a call with Striate."""
    words, given = dict(call.words), dict(operands)
    positional = [
        given.pop(name) for name in ("x", "offset", "w", "weight", "bias", "centres", "h", "t") if name in given
    ]
    positional += [torch.from_numpy(array) for array in call.fixed.values()]
    kernel = [words.pop("kernel")] if "kernel" in words else []
    return getattr(ops, call.operator)(*positional, *kernel, **given, **words, impl=impl)


def _values(call: Call, dtype: str) -> Iterator[Comparison]:
    exact = tensors(call)
    expected: dict[str, Any] = {FUNCTIONAL: TORCH[call.operator](call, exact)}
    expected |= {name: row[call.operator](call) for name, row in ARRAYS.items() if call.operator in row}
    known = {judge: value for judge, value in expected.items() if value is not None}
    for impl in IMPLEMENTATIONS:
        if (impl, dtype, call.operator, call.rank) in NOT_OFFERED:
            continue
        y = ours(call, {name: x.to(DTYPES[dtype]) for name, x in exact.items()}, impl)
        for judge, value in known.items():
            exactly = value.numpy() if isinstance(value, Tensor) else value
            yield Comparison(call.operator, judge, impl, dtype, relative_error(y, exactly))


def _gradients(call: Call, seed: int) -> Iterator[Comparison]:
    for impl in IMPLEMENTATIONS:
        function, operands = _function(call, impl), list(tensors(call).values())
        yield Comparison(call.operator, DIFFERENCES, impl, "float64", gradient_error(function, operands, seed))
        if impl != "reference":
            error = gradient_error(gradient_of(function, seed), operands, seed)
            yield Comparison(call.operator, SECOND, impl, "float64", error)
        error = _against_autograd(call, impl, seed)
        if error is not None:
            yield Comparison(call.operator, GRADIENTS, impl, "float64", error)


def _function(call: Call, impl: str) -> Callable[..., Tensor]:
    names = list(call.operands)
    return lambda *operands: ours(call, dict(zip(names, operands, strict=True)), impl)


def _against_autograd(call: Call, impl: str, seed: int) -> float | None:
    """Return the worst relative error of a gradient against autograd through PyTorch's own functions."""
    theirs = tensors(call, requires_grad=True)
    expected = TORCH[call.operator](call, theirs)
    if expected is None:
        return None
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mine = tensors(call, requires_grad=True)
    ours_by = torch.autograd.grad(ours(call, mine, impl), list(mine.values()), weights)
    theirs_by = torch.autograd.grad(expected, list(theirs.values()), weights)
    return max(relative_error(a, b.numpy()) for a, b in zip(ours_by, theirs_by, strict=True))


def tensors(call: Call, *, requires_grad: bool = False) -> dict[str, Tensor]:
    """Return the operands as float64 tensors of their own."""
    return {name: torch.tensor(a, requires_grad=requires_grad) for name, a in call.operands.items()}
