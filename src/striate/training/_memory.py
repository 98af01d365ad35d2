"""How much memory a run takes."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from striate.errors import StriateError

MIB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_earlier = [0.0]  # the process's peak, MiB, up to where it was last counted anew


def peak_memory(device: torch.device) -> float | None:
    """Return the most MiB in use at once: the process's since it began, or PyTorch's on a GPU; None if not known."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / MIB, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return max(_earlier[0], round(peak * unit / MIB, 1))


def held_memory(device: torch.device) -> float | None:
    """Return the MiB that are held now: the process's resident memory, or what PyTorch has taken of a GPU."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / MIB
    return _status("VmRSS")


class Peak:
    """The most memory that is held within a `counting_anew` block, MiB: resident, or taken of a GPU."""

    mib = 0.0


@contextlib.contextmanager
def counting_anew(device: torch.device) -> Iterator[Peak]:
    """Yield what will be the peak within the block. Raises StriateError where the system cannot count anew.

    On a CPU it is Linux's own count of resident memory, which `clear_refs` begins anew (proc(5)).
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        torch.cuda.synchronize(device)
        peak.mib = torch.cuda.max_memory_reserved(device) / MIB
        return
    _earlier[0] = peak_memory(device) or 0.0
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError as error:
        raise StriateError(
            f"the memory of a step cannot be measured here ({_CLEAR}: {error.strerror}): it takes Linux or a GPU; "
            "choose the parts yourself, for example --set micro_batch=16"
        ) from error
    yield peak
    peak.mib = _status("VmHWM") or 0.0


def _status(name: str) -> float | None:
    with contextlib.suppress(OSError):
        if found := re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE):
            return int(found[1]) / 1024
    return None
