"""What keeping memory costs and gains: peak memory and time of a training step, with and without.

    python benchmarks/runtime_memory.py --write docs/performance.md

Each variant runs in processes of its own, in shuffled order: memory as the system gives it, kept by malloc
(`memory_kept`) without and with a limit, in huge pages, and both. Prints the medians over the processes: the peak of
the resident memory, what is resident after the block, and the CPU time of a step (page faults are system time).
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

VARIANTS = ("system", "kept", "kept, at most 256 MiB", "huge pages", "kept, huge pages")


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="resnet-18")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, a .json beside it")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(step(options)))
        return
    jobs = [variant for variant in VARIANTS for _ in range(options.processes)]
    random.shuffle(jobs)
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for variant in jobs:
        found[variant].append(in_a_process(variant))
    from sections import machine, markdown_table, versions, write_record, write_section

    rows = [
        [variant, *(f"{median(each, key):,.0f}" for key in ("peak", "after", "step"))]
        for variant, each in found.items()
    ]
    print(
        text := f"A training step of {options.network}, batches of {options.batch} pictures of {options.size} x "
        f"{options.size}; medians of {options.processes} processes. {machine()}; {versions('torch')}.\n\n"
        + markdown_table(["memory", "peak MiB", "afterwards MiB", "CPU ms of a step"], rows, right=1)
    )
    if options.write:
        write_section(options.write, "memory", text)
        write_record(options.write, "memory", {"variants": found}, "torch")


def median(rows: list[dict[str, float]], key: str) -> float:
    """Return the median over the processes."""
    return statistics.median(row[key] for row in rows)


def in_a_process(variant: str) -> dict[str, float]:
    """Measure one variant in a process of its own."""
    environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "1" if "huge" in variant else "0"}
    command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def step(options: argparse.Namespace) -> dict[str, float]:
    """Train a few steps on noise; the first one is not timed."""
    import resource
    import time
    from contextlib import nullcontext

    import torch

    from striate.models import build
    from striate.runtime import memory_kept

    torch.set_num_threads(options.threads)
    model = build(options.network, classes=10, channels=3, size=(options.size, options.size))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(options.batch, 3, options.size, options.size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(options.batch) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    times = []
    limit = 256 if "at most" in options.variant else 0
    with memory_kept(limit) if "kept" in options.variant else nullcontext():
        for _ in range(options.steps + 1):
            began = time.process_time()
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            del loss
            times.append(time.process_time() - began)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "after": pages * resource.getpagesize() / 2**20,
        "step": 1000 * statistics.median(times[1:]),
    }


if __name__ == "__main__":
    main()
