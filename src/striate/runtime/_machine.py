"""What this machine has; how fast it multiplies is measured once and kept in the user's cache folder."""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from striate.errors import StriateError
from striate.files import write_json

# what decides how fast matrices are multiplied, best last, as Linux and macOS call it
FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_SIDE = 768  # of the matrices that are timed: a second-level cache's worth, 0.9 GFLOP
_DENSE = (16, 2048, 2048)  # rows, inputs and outputs of the dense layer that is timed: 16 MiB of weights
_REPEATS = 5


@dataclass(frozen=True)
class Rates:
    """How fast one core multiplies matrices: in GFLOP/s (a multiplication and an addition are 2 FLOP), or a ratio."""

    f32: float  # torch.mm
    onednn_gain: float  # how many times as fast oneDNN computes a dense layer as torch.mm; 0 where PyTorch has none
    bf16: float  # torch.mm; 0 where the processor has no instructions for it


@dataclass(frozen=True)
class Machine:
    """The processor and memory that this process may use, and PyTorch on it."""

    processor: str
    features: tuple[str, ...]  # those of FEATURES that the processor has
    cores: int  # that this process may use
    memory: int  # bytes; 0 where the system does not tell
    native: str | None  # the instruction set of Striate's kernels; None where they were not built
    glibc: bool  # whether memory is GNU's malloc's, which can be told to keep it
    huge_pages: str  # of Linux: always, madvise or never; "" elsewhere
    torch: str
    rates: Rates

    @property
    def multiplies_bf16(self) -> bool:
        """Whether the processor has instructions for products of bfloat16."""
        return bool(BF16_FEATURES & set(self.features))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {**asdict(self), "features": list(self.features)}


def machine(*, measure_again: bool = False) -> Machine:
    """Return what this machine has; its rates are measured once (half a second) for a processor and PyTorch.

    A cache folder that cannot be written only means that they are measured again in the next process.
    """
    if measure_again:
        _rates.cache_clear()
        with contextlib.suppress(OSError):
            _cache_file().unlink(missing_ok=True)
    import torch

    from striate.ops.impl.native.library import instruction_set

    return Machine(
        processor=processor(),
        features=_features(),
        cores=_cores(),
        memory=_memory(),
        native=instruction_set(),
        glibc=platform.libc_ver()[0] == "glibc",
        huge_pages=_huge_pages(),
        torch=str(torch.__version__),
        rates=_rates(),
    )


def processor() -> str:
    """Return the processor's name as the system tells it."""
    name = next((value for key, value in _cpuinfo() if key == "model name"), "")
    return name or platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def _rates() -> Rates:
    """Return the rates from the cache, or measure and store them."""
    path = _cache_file()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        rates = Rates(**{name: float(stored[name]) for name in ("f32", "onednn_gain", "bf16")})
        if rates.f32 > 0 and (rates.bf16 > 0 or not _multiplies_bf16()):
            return rates
    except (OSError, ValueError, KeyError, TypeError):  # not there, damaged, or of another version: measured anew
        pass
    rates = measure()
    with contextlib.suppress(StriateError, OSError):
        write_json(path, asdict(rates))
    return rates


def measure() -> Rates:
    """Measure on one core; the time of the thread is counted, so that other programs hardly change it."""
    import torch

    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(_SIDE, _SIDE, generator=generator) for _ in range(2))
        half = a.bfloat16(), b.bfloat16()
        rows, inputs, outputs = _DENSE
        x, w = torch.randn(rows, inputs, generator=generator), torch.randn(outputs, inputs, generator=generator)
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return Rates(
                f32=_rate(lambda: torch.mm(a, b)),
                onednn_gain=_gain(lambda: torch.mm(x, w.t()), lambda: _onednn(x, w)) if _has_onednn() else 0.0,
                bf16=_rate(lambda: torch.mm(*half)) if _multiplies_bf16() else 0.0,  # emulated it takes seconds
            )
        finally:
            torch.set_num_threads(before)


def _rate(multiply: Callable[[], object]) -> float:
    multiply()
    return round(2 * _SIDE**3 / min(_seconds(multiply) for _ in range(_REPEATS)) / 1e9, 1)


def _gain(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    """Return the ratio of their times, called in turn."""
    pairs = [(_seconds(slow), _seconds(fast)) for _ in range(1 + 3 * _REPEATS)][1:]
    return round(min(pair[0] for pair in pairs) / min(pair[1] for pair in pairs), 2)


def _seconds(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return max(time.thread_time() - began, 1e-6)


def _has_onednn() -> bool:
    import torch

    built = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return built and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _onednn(a: Any, b: Any) -> object:
    import torch

    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


def _cache_file() -> Path:
    """Return where the rates of this processor and this PyTorch are kept."""
    import pooch
    import torch

    key = f"{processor()}/{','.join(_features())}/{platform.node()}/{torch.__version__}"
    return Path(pooch.os_cache("striate")) / f"rates-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _multiplies_bf16() -> bool:
    return bool(BF16_FEATURES & set(_features()))


def _features() -> tuple[str, ...]:
    words: set[str] = set()
    for key, value in _cpuinfo():
        if key in {"flags", "Features"}:
            words = set(value.split())
            break
    return tuple(name for name in FEATURES if name in words)


@lru_cache(maxsize=1)
def _cpuinfo() -> list[tuple[str, str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]


def _cores() -> int:
    """Return the cores that this process may use: those it is bound to, and no more than its group's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such groups, or no limit ("max")
        return cores


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _huge_pages() -> str:
    try:
        words = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii").split()
    except OSError:
        return ""
    return next((word.strip("[]") for word in words if word.startswith("[")), "")
