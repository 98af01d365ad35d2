"""Operators through striate.ops beside PyTorch's own, in one run: time, and what a call costs beyond it.

    python benchmarks/operators.py --write docs/judged.md

For each operator and size, forward alone and forward with all gradients, in float32: ours, PyTorch's, and PyTorch's
once more (the null control: how far two equal things differ here). They take turns, round after round, in another order
each time; a round's first calls are thrown away, and each time is that of a block of calls long enough for the clock.
Times are medians over the rounds, ratios are medians of the ratios within a round, so that a machine that slows down
between rounds does not change them. Where PyTorch has no such operator, the baseline is what a user of it would write.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "judges"), str(ROOT / "benchmarks")]

from judge_draws import Call  # noqa: E402
from judge_torch import deform_conv as grid_sample_deform_conv  # noqa: E402
from sections import machine, markdown_table, versions, write_section  # noqa: E402

from striate import ops  # noqa: E402

BLOCK_SECONDS = 2e-3
SIZES = ("tiny", "middle", "large")
# batch, channels and side of the image for every size
SHAPES = {"tiny": (1, 1, 8), "middle": (2, 16, 24), "large": (4, 32, 56)}
# inputs and centres of the radial basis functions: LeNet-5's ten, and more
RBF_SHAPES = {"tiny": (1, 10), "middle": (128, 10), "large": (1024, 100)}


class Case(NamedTuple):
    """An operator at a size: operands, how we compute it, and PyTorch's own or what a user of PyTorch would write."""

    name: str
    size: str
    baseline: str
    operands: tuple[Tensor, ...]
    ours: Callable[..., Tensor]
    theirs: Callable[..., Tensor]


class Timing(NamedTuple):
    """Seconds for one call of each, and the ratios ours / theirs and theirs / theirs."""

    name: str
    size: str
    baseline: str
    gradients: bool
    ours: float
    theirs: float
    ratio: float
    null: float
    rounds: int

    @property
    def own(self) -> bool:
        """Whether the baseline is a single function of PyTorch's, not something put together."""
        return "," not in self.baseline and "*" not in self.baseline


def main() -> None:
    """Time every case, print or write the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=2.0, help="for each row of the table")
    options.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    options.add_argument("--quick", action="store_true", help="0.1 seconds a row: does it run?")
    options.add_argument("--only", help="cases whose name holds this")
    options.add_argument("--json", action="store_true", help="print the timings as JSON")
    options.add_argument("--write", type=Path, metavar="PATH", help="write the table into this Markdown file")
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    seconds = 0.1 if asked.quick else asked.seconds
    timings = []
    for case in cases():
        if asked.only and asked.only not in case.name:
            continue
        require_equal(case)
        for gradients in (False, True):
            timings.append(measure(case, gradients, seconds))
            print(line(timings[-1]), file=sys.stderr, flush=True)
    if asked.json:
        print(json.dumps({"machine": machine(), "timings": [timing._asdict() for timing in timings]}, indent=1))
    elif asked.write:
        write_section(asked.write, "operators", report(timings))
    else:
        print(report(timings))


def cases() -> Iterator[Case]:
    """Yield every operator at every size."""
    for size in SIZES:
        n, c, side = SHAPES[size]
        x = randn(n, c, side, side)
        yield from conv_cases(size, x, c)
        yield from pool_cases(size, x, c)
        yield Case(
            "local_response_norm",
            size,
            "F.local_response_norm",
            (x,),
            lambda x: ops.local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=2.0),
            lambda x: F.local_response_norm(x, 5, 5e-4, 0.75, 2.0),
        )
        gate = randn(n, c, side, side).sigmoid()
        tanh: Callable[[Tensor], Tensor] = lambda x: 1.7159 * torch.tanh(2 / 3 * x)  # noqa: E731
        yield Case("scaled_tanh", size, "torch.tanh, scaled", (x,), ops.scaled_tanh, tanh)
        yield Case("highway", size, "torch.lerp", (x, randn(*x.shape), gate), ops.highway, torch.lerp)
        rows, classes = RBF_SHAPES[size]
        yield Case(
            "rbf, 84 features",
            size,
            "torch.cdist, squared",
            (randn(rows, 84), randn(classes, 84)),
            ops.rbf,
            lambda x, centres: torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist").square(),
        )


def conv_cases(size: str, x: Tensor, c: int) -> Iterator[Case]:
    """Yield the convolutions, their transposed and the deformable one."""
    w, b, depthwise = randn(c, c, 3, 3), randn(c), randn(c, 1, 3, 3)
    own = "F.conv2d"
    yield Case(
        "conv 3 x 3, same", size, own, (x, w, b), lambda x, w, b: ops.conv(x, w, b, padding="same"),
        lambda x, w, b: F.conv2d(x, w, b, padding=1),
    )  # fmt: skip
    yield Case("conv 1 x 1", size, own, (x, randn(c, c, 1, 1), b), ops.conv, F.conv2d)
    yield Case(
        "conv 3 x 3, stride 2, same", size, "F.pad, F.conv2d", (x, w, b),
        lambda x, w, b: ops.conv(x, w, b, stride=2, padding="same"),
        lambda x, w, b: F.conv2d(F.pad(x, (0, 1, 0, 1)), w, b, stride=2),
    )  # fmt: skip
    yield Case(
        "conv, depthwise", size, own, (x, depthwise, b), lambda x, w, b: ops.conv(x, w, b, padding=1, groups=c),
        lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=c),
    )  # fmt: skip
    table = tuple(tuple(int((p + d) % 2 == 0) for d in range(c)) for p in range(c))
    mask = torch.tensor(table, dtype=torch.bool)
    kernels = randn(int(mask.sum()), 3, 3)
    yield Case(
        "conv, half of the links", size, "F.conv2d, masked weight", (x, kernels),
        lambda x, w: ops.conv(x, w, links=table, padding=1),
        lambda x, w: F.conv2d(x, torch.zeros(c, c, 3, 3).masked_scatter(mask[..., None, None], w), padding=1),
    )  # fmt: skip
    yield Case(
        "conv_transpose, stride 2", size, "F.conv_transpose2d", (x, w, b),
        lambda x, w, b: ops.conv_transpose(x, w, b, stride=2, padding=1, output_padding=1),
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
    )  # fmt: skip
    offset, mask2 = randn(len(x), 18, *x.shape[2:]), randn(len(x), 9, *x.shape[2:]).sigmoid()
    words = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1, "offset_groups": 1}

    def by_grid_sample(x: Tensor, offset: Tensor, w: Tensor, mask: Tensor) -> Tensor:
        return grid_sample_deform_conv(Call("deform_conv", {}, words), {"x": x, "offset": offset, "w": w, "mask": mask})

    yield Case(
        "deform_conv 3 x 3, masked", size, "F.grid_sample, 9 times", (x, offset, w, mask2),
        lambda x, offset, w, mask: ops.deform_conv(x, offset, w, mask=mask, padding=1), by_grid_sample,
    )  # fmt: skip


def pool_cases(size: str, x: Tensor, c: int) -> Iterator[Case]:
    """Yield the poolings and what undoes them."""
    w, b = randn(c), randn(c)
    yield Case("max_pool 2", size, "F.max_pool2d", (x,), lambda x: ops.max_pool(x, 2), lambda x: F.max_pool2d(x, 2))
    yield Case(
        "max_pool 3, stride 2, padding 1", size, "F.max_pool2d", (x,),
        lambda x: ops.max_pool(x, 3, stride=2, padding=1), lambda x: F.max_pool2d(x, 3, 2, 1),
    )  # fmt: skip
    yield Case("avg_pool 2", size, "F.avg_pool2d", (x,), lambda x: ops.avg_pool(x, 2), lambda x: F.avg_pool2d(x, 2))
    values, switches = F.max_pool2d(x, 2, return_indices=True)
    yield Case(
        "max_unpool 2", size, "F.max_unpool2d", (values,), lambda v: ops.max_unpool(v, switches, 2),
        lambda v: F.max_unpool2d(v, switches, 2),
    )  # fmt: skip
    yield Case(
        "subsample 2", size, "F.avg_pool2d * w + b", (x, w, b), lambda x, w, b: ops.subsample(x, w, b, 2),
        lambda x, w, b: F.avg_pool2d(x, 2) * w.view(-1, 1, 1) + b.view(-1, 1, 1),
    )  # fmt: skip


def require_equal(case: Case) -> None:
    """Stop if the two do not compute the same thing: their times could not be compared."""
    ours, theirs = (function(*case.operands) for function in (case.ours, case.theirs))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3, msg=lambda text: f"{case.name}, {case.size}: {text}")


def measure(case: Case, gradients: bool, seconds: float) -> Timing:
    """Time ours, theirs and theirs again in turns until the seconds are over, five rounds at least."""
    operands = tuple(operand.detach().requires_grad_(gradients) for operand in case.operands)
    weights = torch.randn_like(case.theirs(*operands))
    runs = [_runner(function, operands, weights, gradients) for function in (case.ours, case.theirs, case.theirs)]
    for run in runs:
        run(2)
    calls = max(1, round(BLOCK_SECONDS / max(runs[1](3), 1e-9)))
    orders, times = list(permutations(range(3))), []
    began = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        row = [0.0] * 3
        for which in orders[len(times) % len(orders)]:
            runs[which](1)  # thrown away: it finds the caches full of the other's data
            row[which] = runs[which](calls)
        times.append(row)
    ours, theirs, _ = (median(row[which] for row in times) for which in range(3))
    ratio, null = (median(row[which] / row[1] for row in times) for which in (0, 2))
    return Timing(case.name, case.size, case.baseline, gradients, ours, theirs, ratio, null, len(times))


def _runner(
    function: Callable[..., Tensor], operands: tuple[Tensor, ...], weights: Tensor, gradients: bool
) -> Callable[[int], float]:
    """Return a function that makes so many calls and returns the seconds of one."""

    def run(calls: int) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            y = function(*operands)
            if gradients:
                torch.autograd.grad(y, operands, weights)
        return (time.perf_counter() - began) / calls

    return run


def report(timings: list[Timing]) -> str:
    """Return the tables and how they were made as Markdown."""
    own = [timing for timing in timings if timing.own]
    tiny = [timing for timing in own if timing.size == "tiny" and not timing.gradients]
    body = [row(timing) for timing in timings]
    head = ["operator", "baseline", "size", "what", "ours, us", "baseline, us", "ratio", "null ratio"]
    shapes = ", ".join(f"{size} {n} x {c} x {side} x {side}" for size, (n, c, side) in SHAPES.items())
    return f"""## Time through striate.ops

Written by `python benchmarks/operators.py --write docs/judged.md`, whose first lines say how it measures. Float32,
images of {shapes}.
The null ratio is that of the baseline to itself: by how much a ratio may differ from 1 for no reason.
{machine()}; {versions("striate", "torch")}; {min((t.rounds for t in timings), default=0)} rounds or more a row.

{summary(tiny, [timing for timing in timings if timing.theirs > 1e-3])}

{markdown_table(head, body, right=4)}
"""


def row(timing: Timing) -> list[str]:
    """Return a timing as the row of a table, in microseconds."""
    times = [f"{1e6 * seconds:.1f}" for seconds in (timing.ours, timing.theirs)]
    what = "with gradients" if timing.gradients else "forward"
    return [timing.name, timing.baseline, timing.size, what, *times, f"{timing.ratio:.2f}", f"{timing.null:.2f}"]


def summary(tiny: list[Timing], long: list[Timing]) -> str:
    """Say in sentences what a call costs beyond PyTorch's, and the largest ratios above a millisecond."""
    lines = []
    if tiny:
        extra = sorted(1e6 * (timing.ours - timing.theirs) for timing in tiny)
        lines.append(
            f"A call on a tiny tensor takes {median(extra):.1f} us more than PyTorch's own function in the median,"
            f" {extra[0]:.1f} to {extra[-1]:.1f} us over the operators that it has."
        )
    for own, whose in ((True, "PyTorch's own function"), (False, "what stands in for a missing one")):
        group = [timing for timing in long if timing.own == own]
        if group:
            worst = max(group, key=lambda timing: timing.ratio)
            what = "with gradients" if worst.gradients else "forward"
            lines.append(
                f"Of {len(group)} rows where {whose} takes more than 1 ms,"
                f" {sum(timing.ratio <= 1.1 for timing in group)} have a ratio of 1.1 or less;"
                f" the largest is {worst.ratio:.2f} ({worst.name}, {what}, null {worst.null:.2f})."
            )
    return "\n".join(lines)


def line(timing: Timing) -> str:
    """Return a timing as one line for the terminal."""
    what = "with gradients" if timing.gradients else "forward"
    return f"{timing.name}, {timing.size}, {what}: {1e6 * timing.ours:.1f} us, ratio {timing.ratio:.2f}"


def randn(*shape: int) -> Tensor:
    """Return the same random numbers for the same shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


if __name__ == "__main__":
    main()
