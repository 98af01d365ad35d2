"""What is best on a machine for a network, and why."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from striate.errors import InputError
from striate.runtime._allocator import MOST_MIB, can_keep
from striate.runtime._machine import Machine, machine
from striate.runtime._runtime import Precision, Runtime, require_possible

# measured with LeNet-5 (0.3 million products a picture: no gain) and small convnets (1.1 million: 1.3 times as fast)
BF16_PRODUCTS = 1_000_000
_BF16_GAIN = 1.3  # bfloat16 is chosen where it multiplies at least so many times as fast as float32
_ONEDNN_GAIN = 1.15  # the same for oneDNN's dense layers in float32


@dataclass(frozen=True)
class RuntimeOptions:
    """What a user asks of the runtime; None leaves it to `choose`."""

    precision: Precision | None = None
    threads: int | None = None
    native: bool | None = None  # Striate's own kernels
    small: bool | None = None  # small networks as one
    onednn_linear: bool | None = None  # large dense layers by oneDNN
    keep_memory: bool | None = None
    keep_mib: int = 0  # the most memory that is kept, in MiB; 0: any

    def __post_init__(self) -> None:
        if isinstance(self.keep_mib, bool) or not isinstance(self.keep_mib, int) or not 0 <= self.keep_mib <= MOST_MIB:
            raise InputError(f"runtime: keep_mib must be 0 (any) to {MOST_MIB} MiB, got {self.keep_mib!r}")


def choose(
    options: RuntimeOptions = RuntimeOptions(),
    *,
    work: int | None = None,
    not_small: str | None = None,
    channels_last: bool = True,
    device: str = "cpu",
    here: Machine | None = None,
) -> Runtime:
    """Return the best runtime for training a network, with a reason for each part.

    `work` is the products of one picture (`products`), None for a large network; `not_small` is why the network cannot
    be computed as one (`why_not_small`), None if it can or is not known. Raises InputError for what cannot be
    had.
    """
    here = here or machine()
    reasons: dict[str, str] = {}
    reasons["channels_last"] = (
        "convolutions and pooling are faster with the channels innermost" if channels_last else "the recipe says so"
    )
    reasons["threads"] = "as asked for" if options.threads else f"of {here.cores} cores that this process may use"
    precision, native = _precision(options, work, device, here, reasons), _native(options, here, reasons)
    if device != "cpu":
        not_small = "a GPU computes"
    elif native is None:
        not_small = "Striate's kernels are not used"
    elif precision == "bf16":
        not_small = "products are of bfloat16"
    return Runtime(
        precision=precision,
        channels_last=channels_last,
        threads=options.threads or _threads(here),
        native=native,
        small=_small(options, not_small, reasons),
        linear=_linear(options, here, reasons),
        keep_memory=_keep_memory(options, reasons),
        emulated=precision == "bf16" and not _multiplies_bf16(device, here),
        keep_mib=options.keep_mib,
        reasons=reasons,
    )


def choose_for_use(
    options: RuntimeOptions = RuntimeOptions(),
    *,
    trained: object = None,
    here: Machine | None = None,
) -> Runtime:
    """Return the best runtime for evaluating and predicting with a finished network: float32 unless asked otherwise.

    `trained` is the recorded runtime of the training (`Runtime.to_json`): one without our kernels, or exact, stays so.
    """
    before: Mapping[str, Any] = trained if isinstance(trained, Mapping) else {}  # a bundle's may be any JSON value
    if options.precision is None:
        options = replace(options, precision="exact" if before.get("precision") == "exact" else "high")
    if options.native is None and before.get("native", "") is None:
        options = replace(options, native=False)
    if options.small is None and before and not before.get("small", False):  # nor did versions without it
        options = replace(options, small=False)
    return choose(options, channels_last=bool(before.get("channels_last", True)), here=here)


def recorded(values: Mapping[str, Any], device: str = "cpu") -> Runtime:
    """Return the runtime that a run recorded; raises InputError if this machine cannot compute as it did."""
    runtime = Runtime.from_json(values)
    require_possible(runtime)
    if runtime.precision == "bf16" and runtime.emulated == _multiplies_bf16(device, machine()):
        what = "GPU" if device.startswith("cuda") else "processor"
        here = "has instructions for, and it began without" if runtime.emulated else "has no instructions for"
        raise InputError(
            f"runtime: this run computes products in bfloat16, which this {what} {here}; "
            "resume it on the machine where it began, or start a new run"
        )
    return runtime


def busy(threads: int) -> str | None:
    """Return a warning if other programs occupy the cores that `threads` threads need, else None."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = os.cpu_count() or 1
    if threads == 1 or load + threads <= 1.5 * cores:
        return None
    return (
        f"this machine is busy (load {load:.1f} on {cores} cores): {threads} threads wait for each other and may be "
        "many times slower than one; --threads 1 is steadier"
    )


def _precision(
    options: RuntimeOptions, work: int | None, device: str, here: Machine, reasons: dict[str, str]
) -> Precision:
    fast, why = _fast_bf16(device, here)
    if options.precision is not None:
        slow = options.precision == "bf16" and not fast
        reasons["precision"] = f"as asked for, though {why}" if slow else "as asked for"
        return options.precision
    if fast and work is not None and work < BF16_PRODUCTS:
        reasons["precision"] = f"the network is small ({work:,} products a picture): bfloat16 gains nothing"
        return "high"
    reasons["precision"] = why
    return "bf16" if fast else "high"


def _fast_bf16(device: str, here: Machine) -> tuple[bool, str]:
    fast = _multiplies_bf16(device, here)
    if device.startswith("cuda"):
        return fast, f"the GPU has {'' if fast else 'no '}instructions for bfloat16"
    if not fast:
        return False, "the processor has no instructions for bfloat16"
    gain = here.rates.bf16 / here.rates.f32
    verdict = f"bfloat16 multiplies {gain:.1f} times as fast as float32 here"
    return gain >= _BF16_GAIN, verdict


def _multiplies_bf16(device: str, here: Machine) -> bool:
    if device.startswith("cuda"):
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return here.multiplies_bf16


def _native(options: RuntimeOptions, here: Machine, reasons: dict[str, str]) -> str | None:
    if options.native and here.native is None:
        raise InputError(
            "runtime: Striate's kernels were asked for and are not built here; "
            "install a C++ compiler and Striate again, or leave the request out"
        )
    if options.native is False:
        reasons["native"] = "as asked for"
        return None
    if here.native is None:
        reasons["native"] = "they were not built: there was no C++ compiler when Striate was installed"
        return None
    reasons["native"] = "Striate's kernels, built for this instruction set, where they are known to be faster"
    return here.native


def _small(options: RuntimeOptions, not_small: str | None, reasons: dict[str, str]) -> bool:
    if options.small is False:
        reasons["small"] = "as asked for"
        return False
    if not_small is not None:
        if options.small:
            raise InputError(f"runtime: the network was to be computed as one (small) and cannot be: {not_small}")
        reasons["small"] = not_small
        return False
    reasons["small"] = "small networks of usual layers in one call, a block of pictures through all layers at once"
    return True


def _linear(options: RuntimeOptions, here: Machine, reasons: dict[str, str]) -> Literal["aten", "onednn"]:
    if options.onednn_linear is not None:
        reasons["linear"] = "as asked for"
        return "onednn" if options.onednn_linear else "aten"
    if not here.rates.onednn_gain:
        reasons["linear"] = "PyTorch has no oneDNN here"
        return "aten"
    gain = here.rates.onednn_gain
    reasons["linear"] = f"oneDNN computes a dense layer {gain:.1f} times as fast as torch.mm here, in float32"
    return "onednn" if gain >= _ONEDNN_GAIN else "aten"


def _keep_memory(options: RuntimeOptions, reasons: dict[str, str]) -> bool:
    if options.keep_memory is False:
        reasons["keep_memory"] = "as asked for"
        return False
    if not can_keep():
        reasons["keep_memory"] = "memory is not glibc's, or the environment has set how it is kept"
        return False
    limit = f"at most {options.keep_mib} MiB" if options.keep_mib else "no limit"
    reasons["keep_memory"] = f"large tensors are not faulted in again at each step; {limit}"
    return True


def _threads(here: Machine) -> int:
    """Return as many threads as PyTorch uses (OMP_NUM_THREADS counts), but no more than there are cores."""
    import torch

    return max(1, min(torch.get_num_threads(), here.cores))
