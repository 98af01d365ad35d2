"""How much memory a run takes."""

import sys

import torch

MIB = 2**20


def peak_memory(device: torch.device) -> float | None:
    """Return the most MiB in use at once: the process's since it began, or PyTorch's on a GPU; None if not known."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / MIB, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round((peak if sys.platform == "darwin" else peak * 1024) / MIB, 1)  # bytes there, KiB elsewhere
