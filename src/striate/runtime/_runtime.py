"""What was chosen for a machine, and the block in which it holds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from striate.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

Precision = Literal["exact", "high", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Runtime:
    """How a network is computed; `choose` makes the best one of a machine, the defaults are PyTorch's own ways.

    precision: "exact": float32 everywhere, no Winograd. "high": float32, each operator within 2e-5 of float64 relative
    to its largest output; Winograd's convolution is allowed. "bf16": products of bfloat16 with float32 weights and
    losses (PyTorch's autocast).
    """

    precision: Precision = "exact"
    channels_last: bool = False  # images are stored with their channels innermost
    threads: int = 1
    native: str | None = None  # the instruction set of Striate's own kernels; None: PyTorch computes everything
    linear: Literal["aten", "onednn"] = "aten"  # who computes large dense layers in float32
    keep_memory: bool = False  # memory stays the process's between steps; changes no number
    keep_mib: int = 0  # how much of it, in MiB; 0: all
    emulated: bool = False  # bfloat16 on a processor or GPU without instructions for it: slow, and rounded otherwise
    small: bool = False  # small networks of usual layers are computed as one (striate.nn.Fused)
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)  # setting -> why, in words

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"runtime: precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise InputError(f"runtime: threads must be 1 or more, got {self.threads!r}")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary from which `from_json` makes an equal runtime."""
        return {name: value for name, value in asdict(self).items() if name != "reasons"}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Runtime":
        """Make a runtime from `to_json`'s dictionary; raises InputError if it is none."""
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"runtime: not a description this version understands ({error})") from error

    def in_float32(self) -> "Runtime":
        """Return the runtime in which what was trained so is judged: "high" in place of "bf16"."""
        return replace(self, precision="high") if self.precision == "bf16" else self

    @contextmanager
    def applied(self) -> Iterator["Runtime"]:
        """Within the block, compute so: threads, kernels, memory; all is as before afterwards (see `memory_kept`).

        bfloat16 holds only within `autocast`, the memory layout only for what `laid_out` returns: Striate's training
        and evaluation use both. Raises InputError if this machine cannot do it.
        """
        import torch

        from striate.ops import onednn_linear, prefer
        from striate.ops.impl.native.library import use_instruction_set
        from striate.runtime._allocator import memory_kept

        require_possible(self)
        threads, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
        with ExitStack() as stack:
            stack.callback(torch.set_num_threads, threads)
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", tf32)
            stack.callback(_current.reset, _current.set(self))
            torch.set_num_threads(self.threads)
            if self.precision != "bf16":  # a GPU's TF32 has 10 bits of 23
                torch.backends.cudnn.allow_tf32 = False
            if self.keep_memory:
                stack.enter_context(memory_kept(self.keep_mib))
            if self.native is not None:
                stack.enter_context(use_instruction_set(self.native))
            if self.linear == "onednn":
                stack.enter_context(onednn_linear())
            stack.enter_context(prefer(**self.preferences()))
            yield self

    def preferences(self) -> dict[str, str]:
        """Return operator -> the implementation that is asked first."""
        from striate.ops._dispatch import TABLE

        ours = [operator for operator, row in TABLE.items() if "native" in row]
        if self.native is None:
            return dict.fromkeys(ours, "aten")
        if self.precision == "bf16":  # most kernels multiply float32: their products are left to PyTorch
            return {"max_pool": "native", "conv": "native"}
        preferred = dict.fromkeys(ours, "native")
        return {**preferred, "conv": "aten"} if self.precision == "exact" else preferred

    def autocast(self, device: str = "cpu") -> AbstractContextManager[Any]:
        """Return a block for the forward pass in which products are of bfloat16 if that is the precision."""
        import torch

        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(device, torch.bfloat16)

    def network(self, model: "nn.Module", size: tuple[int, ...]) -> "Callable[[Tensor], Tensor]":
        """Return what computes a model for images of this size (C, H, W) here: the model, or a faster way to it."""
        if not self.small:
            return model
        from striate.nn import fused

        made = fused(model, size)
        return model if isinstance(made, str) else made

    def laid_out(self, images: "Tensor") -> "Tensor":
        """Return images N x C x H x W in the memory layout of this runtime."""
        import torch

        if not self.channels_last or images.ndim != 4:
            return images
        return images.contiguous(memory_format=torch.channels_last)


_current: ContextVar[Runtime | None] = ContextVar("runtime", default=None)


def current() -> Runtime | None:
    """Return the runtime of the innermost `applied` block, None outside of any."""
    return _current.get()


def require_possible(runtime: Runtime) -> None:
    """Raise InputError if this machine cannot compute as the runtime says."""
    from striate.ops.impl.native.library import instruction_sets

    if runtime.native is not None and runtime.native not in instruction_sets():
        known = ", ".join(instruction_sets()) or "none: they were not built"
        raise InputError(
            f"runtime: Striate's kernels for {runtime.native} were asked for and this machine has {known}; "
            "compute without them (--no-native), or on the machine where it began"
        )
