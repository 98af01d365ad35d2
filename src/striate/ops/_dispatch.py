"""The seam between what an operator means and how it is computed.

An operator brings its arguments to a normal form: a frozen object that says what is to be computed, and the tensors.
Each implementation is a module, named in TABLE, with two functions of that normal form:

    supports(form, *operands) -> None, or in words why it cannot compute this
    forward(form, *operands)  -> the result; differentiable, by PyTorch's autograd or by its own gradients

and perhaps a third, which is asked where `prefer` puts the implementation before others:

    pays(form, *operands)     -> None, or in words why it is not known to be faster than they are

A new operator is a file `_NAME.py` here, with a public function NAME and a `normal_form` of the same arguments (but
impl), and a row of TABLE. A new implementation is a module and an entry in the row.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import torch

from striate.errors import InputError, did_you_mean
from striate.ops._constant import constant

P = ParamSpec("P")
R = TypeVar("R")

# operator -> its implementations, each imported when it is reached: "auto" takes the first that supports the case
TABLE: dict[str, dict[str, str]] = {
    "conv": {
        "aten": "striate.ops.impl.aten.conv",
        "native": "striate.ops.impl.native.conv",
        "reference": "striate.ops.impl.reference.conv",
    },
    "conv_transpose": {
        "aten": "striate.ops.impl.aten.conv_transpose",
        "native": "striate.ops.impl.native.conv_transpose",
        "reference": "striate.ops.impl.reference.conv_transpose",
    },
    "deform_conv": {
        "aten": "striate.ops.impl.aten.deform_conv",
        "native": "striate.ops.impl.native.deform_conv",
        "reference": "striate.ops.impl.reference.deform_conv",
    },
    "max_pool": {
        "aten": "striate.ops.impl.aten.max_pool",
        "native": "striate.ops.impl.native.max_pool",
        "reference": "striate.ops.impl.reference.max_pool",
    },
    "avg_pool": {
        "aten": "striate.ops.impl.aten.avg_pool",
        "reference": "striate.ops.impl.reference.avg_pool",
    },
    "max_unpool": {
        "aten": "striate.ops.impl.aten.max_unpool",
        "reference": "striate.ops.impl.reference.max_unpool",
    },
    "subsample": {
        "aten": "striate.ops.impl.aten.subsample",
        "reference": "striate.ops.impl.reference.subsample",
    },
    "local_response_norm": {
        "native": "striate.ops.impl.native.local_response_norm",
        "aten": "striate.ops.impl.aten.local_response_norm",
        "reference": "striate.ops.impl.reference.local_response_norm",
    },
    "highway": {
        "aten": "striate.ops.impl.aten.highway",
        "reference": "striate.ops.impl.reference.highway",
    },
    "scaled_tanh": {
        "native": "striate.ops.impl.native.scaled_tanh",
        "aten": "striate.ops.impl.aten.scaled_tanh",
        "reference": "striate.ops.impl.reference.scaled_tanh",
    },
    "rbf": {
        "aten": "striate.ops.impl.aten.rbf",
        "reference": "striate.ops.impl.reference.rbf",
    },
}


class Implementation(Protocol):
    """What a module of `striate.ops.impl` offers for one operator."""

    def supports(self, form: Any, *operands: Any) -> str | None:
        """Return None if this implementation computes the case, else in words why it does not."""

    def forward(self, form: Any, *operands: Any) -> Any:
        """Return the operator's result for its normal form."""


_default: ContextVar[str] = ContextVar("impl", default="auto")
_preferred: ContextVar[dict[str, str]] = ContextVar("preferred", default={})  # noqa: B039  # never written to
# what looks on: called instead of the implementation's `forward`, with operator, normal form, operands and `forward`
Watcher = Callable[[str, Any, tuple[Any, ...], Callable[..., Any]], Any]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def use_impl(name: str) -> Iterator[None]:
    """Within the block, compute every operator with the implementation `name` unless a call says impl= itself.

    "auto" goes back to choosing. What the implementation cannot compute is an error, never computed by another. A
    function keeps the implementation with which torch.compile compiled it. Raises InputError for an unknown name.
    """
    _require_known(name, {known for row in TABLE.values() for known in row}, "use_impl")
    token = _default.set(name)
    try:
        yield
    finally:
        _default.reset(token)


@contextmanager
def prefer(**implementations: str) -> Iterator[None]:
    """Within the block, let "auto" ask these implementations first: operator=implementation, such as conv="native".

    One that is asked first computes what it supports where it is known to be faster; all else is computed as without
    the block. Blocks within each other add up. A function keeps what torch.compile found when it compiled it. Raises
    InputError for an unknown operator or implementation.
    """
    for operator, name in implementations.items():
        if operator not in TABLE:
            raise InputError(f"prefer: unknown operator {operator!r}{did_you_mean(operator, TABLE)}")
        _require_known(name, TABLE[operator], f"prefer: {operator}")
    token = _preferred.set({**_preferred.get(), **implementations})
    try:
        yield
    finally:
        _preferred.reset(token)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Within the block, let `watcher` see every operator and compute it; what torch.compile compiled is not seen."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def explain_dispatch(operator: str, *args: Any, **kwargs: Any) -> dict[str, str]:
    """Say for each implementation whether the call operator(*args, **kwargs) would take it, or why it would not.

    Nothing is computed. Returns implementation -> "taken" or the reason, in the order in which they are asked.

    >>> import torch
    >>> explain_dispatch("conv", torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 3, 3))
    {'aten': 'taken', 'native': "not asked: 'aten' comes first", 'reference': "not asked: 'aten' comes first"}
    """
    if operator not in TABLE:
        raise InputError(f"explain_dispatch: unknown operator {operator!r}{did_you_mean(operator, TABLE)}")
    module = importlib.import_module(f"striate.ops._{operator}")
    arguments = inspect.signature(getattr(module, operator)).bind(*args, **kwargs).arguments
    wanted = _wanted(operator, arguments.pop("impl", "auto"))
    form, operands = module.normal_form(**arguments)
    verdicts: dict[str, str] = {}
    taken = None
    for name, first in _candidates(operator, wanted):
        if taken is not None:
            verdicts.setdefault(name, f"not asked: {taken!r} comes first")
        elif (reason := _refusal(_load(TABLE[operator][name]), form, operands, first=first)) is not None:
            verdicts[name] = f"passed over: {reason}"
        else:
            verdicts[name], taken = "taken", name
    others = {name: f"not asked: {wanted!r} was asked for" for name in TABLE[operator] if name not in verdicts}
    return verdicts | others


def compute(operator: str, impl: str, form: Any, operands: tuple[Any, ...]) -> Any:
    """Compute `operator` on its normal form by the implementation that `impl` or `use_impl` asks for.

    Raises InputError if that one does not exist or cannot compute the case, or if "auto" finds none.
    """
    reasons = []
    for name, first in _candidates(operator, _wanted(operator, impl)):
        implementation = _load(TABLE[operator][name])
        reason = _refusal(implementation, form, operands, first=first)
        if reason is None:
            watcher = None if torch.compiler.is_compiling() else _watcher.get()
            if watcher is not None:
                return watcher(operator, form, operands, implementation.forward)
            return implementation.forward(form, *operands)
        reasons.append(f"{name!r} does not support {reason}")
    raise InputError(f"{operator}: {'; '.join(reasons)}")


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Remember the results of a function of shapes and words, so that only the first call of its kind checks them.

    torch.compile traces the function itself; for arguments that cannot be remembered, such as lists, it is called.
    """
    cached = lru_cache(maxsize=4096, typed=True)(function)

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        try:
            return cached(*args, **kwargs)  # type: ignore[arg-type]
        except TypeError:
            return function(*args, **kwargs)

    return call


def _candidates(operator: str, wanted: str) -> list[tuple[str, bool]]:
    """Return the implementations to ask in their order, and of each whether it was preferred."""
    if wanted != "auto":
        return [(wanted, False)]
    in_order = [(name, False) for name in TABLE[operator]]
    first = _current_preference(operator)
    return [(first, True), *in_order] if first != "auto" else in_order


def _refusal(implementation: Implementation, form: Any, operands: tuple[Any, ...], *, first: bool) -> str | None:
    """Return None if the implementation takes the case, else why not."""
    reason = implementation.supports(form, *operands)
    if reason is None and first and hasattr(implementation, "pays"):
        worth: str | None = implementation.pays(form, *operands)
        return worth
    return reason


def _wanted(operator: str, impl: str) -> str:
    wanted = _current_default() if impl == "auto" else impl
    if wanted != "auto" and wanted not in TABLE[operator]:
        _require_known(wanted, TABLE[operator], operator)
    return wanted


@constant  # torch.compile reads no context variable
def _current_default() -> str:
    return _default.get()


@constant
def _current_preference(operator: str) -> str:
    return _preferred.get().get(operator, "auto")


def _load(path: str) -> Implementation:
    if torch.compiler.is_compiling():
        _import_all()
        return cast("Implementation", sys.modules[path])
    return cast("Implementation", _import_module(path))


_import_module = lru_cache(maxsize=None)(importlib.import_module)


@constant  # nor does it import; it finds in sys.modules
def _import_all() -> None:  # what is there when it looks for the first time
    for path in [path for row in TABLE.values() for path in row.values()]:
        importlib.import_module(path)


def _require_known(name: str, known: Any, who: str) -> None:
    if name not in {"auto", *known}:
        raise InputError(f"{who}: unknown implementation {name!r}{did_you_mean(name, {'auto', *known})}")
