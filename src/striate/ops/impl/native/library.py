"""The native extension: finding it, lending it PyTorch's threads, calling its kernels, and what they all require.

The extension is optional: `striate.ops.impl._native` is there if a C++ compiler was at hand when Striate was installed.
It is called through ctypes, so it depends on no version of PyTorch.
"""

import ctypes
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from striate.errors import InputError, did_you_mean
from striate.ops._constant import constant

R = TypeVar("R")

_PLAIN = (Tensor, torch.nn.Parameter)  # no subclass that computes in its own way
_OPENMP = ("libgomp", "libiomp5", "libomp")  # GNU's, Intel's and LLVM's all have GOMP_parallel


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Return the loaded extension, or None where it was not built."""
    spec = importlib.util.find_spec("striate.ops.impl._native")
    if spec is None or spec.origin is None:
        return None
    loaded = ctypes.CDLL(spec.origin)
    loaded.striate_instruction_set.restype = ctypes.c_char_p
    loaded.striate_available.restype = ctypes.c_char_p
    loaded.striate_panel.restype = ctypes.c_int64
    runtime = openmp_runtime()
    if runtime is not None:
        loaded.striate_use_threads_of(ctypes.cast(ctypes.CDLL(runtime).GOMP_parallel, ctypes.c_void_p))
    return loaded


@lru_cache(maxsize=1)
def openmp_runtime() -> str | None:
    """Return the file of the OpenMP runtime that this process has loaded with PyTorch, None if none is found."""
    try:
        mapped = Path("/proc/self/maps").read_text()
    except OSError:  # not Linux: the kernels run on one thread
        return None
    files = {line.split(maxsplit=5)[5] for line in mapped.splitlines() if line.count("/")}
    found = sorted(file for file in files if Path(file).name.startswith(_OPENMP))
    return next((file for file in found if "torch" in file), found[0] if found else None)


def instruction_set() -> str | None:
    """Return the instruction set of the kernels in use ("avx512", "avx2" or "plain"), None without the extension."""
    loaded = library()
    return None if loaded is None else loaded.striate_instruction_set().decode()


@constant  # torch.compile does not look into the extension
def multiplies_bf16() -> bool:
    """Whether the kernels whose products are of bfloat16 may be called with the instruction set in use."""
    loaded = library()
    return loaded is not None and hasattr(loaded, "striate_multiplies_bf16") and bool(loaded.striate_multiplies_bf16())


@constant
def has_matrix_tiles() -> bool:
    """Whether the processor multiplies tiles of bfloat16 (Intel's AMX), which oneDNN uses and our kernels do not."""
    return bool(torch.cpu._is_amx_tile_supported())


def panel() -> int:
    """Return of how many output channels packed weights have a multiple."""
    loaded = library()
    return 1 if loaded is None else int(loaded.striate_panel())


def instruction_sets() -> list[str]:
    """Return the instruction sets that this processor has kernels for, best first; empty without the extension."""
    loaded = library()
    if loaded is None:
        return []
    names = iter(loaded.striate_available(number).decode() for number in range(_count(loaded)))
    return list(names)


@contextmanager
def use_instruction_set(name: str) -> Iterator[None]:
    """Within the block, compute with another instruction set; raises InputError if the processor lacks it."""
    loaded, before = library(), instruction_set()
    if loaded is None or before is None or name not in instruction_sets():
        raise InputError(f"unknown instruction set {name!r}{did_you_mean(name, instruction_sets())}")
    loaded.striate_use_instruction_set(name.encode())
    try:
        yield
    finally:
        loaded.striate_use_instruction_set(before.encode())


def _count(loaded: ctypes.CDLL) -> int:
    number = 0
    while loaded.striate_available(number) is not None:
        number += 1
    return number


def kernel(name: str, signature: str) -> Callable[..., None]:
    """Return the kernel `name` as a function of tensors and numbers, called on as many threads as PyTorch uses.

    `signature` has a letter per argument: t tensor (or the address of memory; None: null), i integer, f float, s ctypes
    structure. The last parameter of every kernel, the number of threads, is added here.
    """
    kinds = {"t": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float, "s": ctypes.c_void_p}

    @lru_cache(maxsize=1)
    def function() -> Any:
        found = getattr(library(), f"striate_{name}")
        found.argtypes = [*(kinds[letter] for letter in signature), ctypes.c_int]
        found.restype = None
        return found

    def call(*arguments: Any) -> None:
        function()(*[_value(argument) for argument in arguments], torch.get_num_threads())

    return call


@constant  # torch.compile does not look into the extension
def older_than_sources(*names: str) -> str | None:
    """Return None if the extension has these kernels, else in words that it lacks them."""
    loaded = library()
    if loaded is None or all(hasattr(loaded, f"striate_{name}") for name in names):
        return None
    return "the native extension is older than this version of Striate: build it again"


def _value(argument: Any) -> Any:
    """Return what ctypes passes on."""
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return ctypes.addressof(argument) if isinstance(argument, ctypes.Structure | ctypes.Array) else argument


def address(x: Tensor | None, number: int = 0) -> int | None:
    """Return where a number of a tensor is, counted as its memory lies; None for None."""
    return None if x is None else x.data_ptr() + number * x.itemsize


def unusable(*tensors: Tensor | None, dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> str | None:
    """Return None if the kernels may compute on these tensors, else in words why not: what all kernels require."""
    if not _built():
        return "anything here: the native extension was not built (a C++ compiler is needed when Striate is installed)"
    if torch.compiler.is_exporting():
        return "exporting: other programs do not know its kernels"
    if not torch.compiler.is_compiling():
        if torch._C._functorch.maybe_current_level() is not None:
            return "torch.func transforms"
        if torch.autograd.forward_ad._current_level >= 0:
            return "forward-mode derivatives"
    for tensor in tensors:
        if tensor is not None and (tensor.device.type != "cpu" or tensor.dtype not in dtypes):
            return f"{tensor.dtype} on {tensor.device.type}, only {' and '.join(map(str, dtypes))} on cpu"
    return None


@constant
def _built() -> bool:
    return library() is not None


def channels_last(x: Tensor) -> bool:
    """Whether an image batch N x C x H x W is stored with its channels innermost."""
    return x.is_contiguous(memory_format=torch.channels_last)


def empty(*size: int) -> Tensor:
    """Return memory for so many float32 on the CPU, whatever PyTorch's defaults are."""
    return torch.empty(size, dtype=torch.float32, device="cpu")


def empty_images(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return memory for images N x C x H x W, channels last."""
    return torch.empty(size, dtype=dtype, device="cpu", memory_format=torch.channels_last)


def as_channels_last(x: Tensor) -> Tensor:
    """Return x itself, or a copy that is stored with its channels innermost."""
    return x.contiguous(memory_format=torch.channels_last)


def direct(*tensors: Tensor | None) -> bool:
    """Whether kernels may be called on these tensors past PyTorch's dispatcher: nothing traces or looks on."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.maybe_current_level() is None
        and torch._C._get_tracing_state() is None
        and all(type(x) in _PLAIN or x is None for x in tensors)
    )


def past_dispatcher(operator: Callable[..., R], compute: Callable[..., R]) -> Callable[..., R]:
    """Return a function that is the operator where something looks on, else `compute`, which the operator calls."""

    def call(*arguments: Any) -> R:
        return (compute if direct(*_tensors(arguments)) else operator)(*arguments)

    return call


def differentiable(
    operator: Callable[..., R],
    compute: Callable[..., R],
    setup: Callable[[Any, Any, R], None],
    differentiate: Callable[..., Any],
) -> Callable[..., R]:
    """Return a function that is the operator where something looks on, else the same as a function of autograd.

    A registered operator knows torch.compile, fake tensors and whatever else dispatches, and takes twice the time of a
    function of autograd to call. The last two are what the operator was registered with.
    """

    class Direct(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> R:
            output = compute(*arguments)
            setup(ctx, arguments, output)
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return differentiate(ctx, *grads)

    def call(*arguments: Any) -> R:
        tensors = _tensors(arguments)
        if not direct(*tensors):
            return operator(*arguments)
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            result: R = Direct.apply(*arguments)  # type: ignore[no-untyped-call]
            return result
        return compute(*arguments)

    return call


def _tensors(arguments: tuple[Any, ...]) -> list[Tensor]:
    return [x for x in arguments if isinstance(x, Tensor)]


def differentiable_again(forward: Callable[..., Tensor], inputs: tuple[Tensor, ...], grad: Tensor) -> tuple[Any, ...]:
    """Return the gradients of `forward` by PyTorch's operators, so that they can be differentiated once more."""
    with torch.enable_grad():
        wanted = tuple(x for x in inputs if x.requires_grad)
        found = iter(torch.autograd.grad(forward(*inputs), wanted, grad, create_graph=True))
        return tuple(next(found) if x.requires_grad else None for x in inputs)
