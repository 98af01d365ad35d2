"""How much memory this process may still take: of the machine, of its control groups, of a GPU."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_NO_LIMIT = 2**60  # version 1 of control groups writes the largest page-aligned number for "none"


def free_memory(device: str = "cpu", *, root: Path = Path("/")) -> int | None:
    """Return the bytes that this process may still take on a device, None where the system does not tell.

    On a CPU the least of what Linux calls available and what each control group of the process (a container's, a batch
    job's) has left of its limit, files in its cache not counted. On a GPU what is free there and what PyTorch holds
    without using it. `root` is where the file system of Linux begins.
    """
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = [value for value in (_available(root), *_groups(root)) if value is not None]
    return min(known, default=None)


def _available(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _groups(root: Path) -> Iterator[int]:
    """Yield what each control group has left, from the process's own up to the root."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            places, names = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            places, names = ["sys/fs/cgroup/memory"], ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        for place in places:
            own = PurePosixPath(path.lstrip("/"))
            for group in (own, *own.parents):  # in a container the path may be the host's: then only the root is there
                if (left := _left(root / place / group, *names)) is not None:
                    yield left


def _left(group: Path, limit_name: str, usage_name: str, prefix: str) -> int | None:
    limit, usage = _number(_text(group / limit_name)), _number(_text(group / usage_name))
    if limit is None or usage is None or limit >= _NO_LIMIT:
        return None
    cached = 0  # the group's files that the kernel would drop first
    for line in _text(group / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == f"{prefix}inactive_file":
            cached = _number(value) or 0
    return max(0, limit - usage + cached)


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
