"""Time networks of LeNet-5's size: training steps and inference, computed as one beside PyTorch and JAX.

    python benchmarks/small_networks.py --write docs/performance.md

Every measurement is a process of its own, which warms up, times its steps and reports their median and its peak memory;
all run in shuffled order, in several rounds, whose median counts. "pytorch again" is "pytorch" measured as another: the
null control. Weights and data are random; a training step is forward, loss, backward, AdamW.

"pytorch" is eager PyTorch as people write it: an nn.Sequential of plain torch.nn modules, float32. "channels_last" is
that in the other layout; "torch.compile" compiles the model, which its first step shows (with nothing cached in the
first round). "jax" compiles the whole step, where JAX is installed. "striate layers" calls the layers one by one,
"striate fused" computes them as one, as the runtime chooses by itself.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plain_torch import compiled, plain
from sections import machine, versions, write_record, write_section
from variants import AGAIN, Job, Row, Step, add_options, comparison, in_rounds, noise, ratio, summary, table, timed

from striate.models import build
from striate.nn import Conv, MaxPool
from striate.runtime import RuntimeOptions, choose, why_not_small
from striate.training import LossOptions, OptimizerOptions
from striate.training._losses import make_loss
from striate.training._optimizer import make_optimizer

VARIANTS = (
    "pytorch",
    f"pytorch{AGAIN}",
    "pytorch channels_last",
    "torch.compile",
    "jax",
    "striate layers",
    "striate fused",
)
ESSENTIAL = ("pytorch", "striate layers", "striate fused")  # all that is measured with the smaller batch
WANTED = 4.0  # times as fast as eager PyTorch is a training step to be
RATE = 1e-4


def lenet5() -> nn.Sequential:
    """LeNet-5 of 1998, with its link table and RBF units."""
    return nn.Sequential(*build("lenet5", classes=10, channels=1).sequence())


def lenet5_modern() -> nn.Sequential:
    """LeNet-5 as usually written today."""
    return nn.Sequential(*build("lenet5-modern", classes=10, channels=1).sequence())


def tutorial() -> nn.Sequential:
    """The network of PyTorch's tutorial on training a classifier, for 32 x 32 pictures in colour."""
    features = [Conv(3, 6, (5, 5)), nn.ReLU(), MaxPool((2, 2)), Conv(6, 16, (5, 5)), nn.ReLU(), MaxPool((2, 2))]
    dense = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*features, nn.Flatten(), *dense)


NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, int, int], LossOptions]] = {
    "lenet5": (lenet5, (1, 32, 32), LossOptions("rbf_map")),
    "lenet5-modern": (lenet5_modern, (1, 32, 32), LossOptions()),
    "tutorial": (tutorial, (3, 32, 32), LossOptions()),
}


def main() -> None:
    """Measure, print the tables, write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, NETWORKS, rounds=3, minutes=30)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(Job.from_words(asked.one[:5]), 0.2 if asked.quick else 1.0)))
        return
    jobs = planned(asked.tasks, asked.networks, asked.threads, quick=asked.quick)
    words = ["--quick"] if asked.quick else []
    found = in_rounds(__file__, jobs, 1 if asked.quick else asked.rounds, asked.minutes, words)
    rows = [summary(job, each) for job, each in found.items()]
    print(text := report(rows))
    if asked.write:
        write_section(asked.write, "small", text)
        write_record(asked.write, "small", {"rows": rows}, *packages())


def planned(tasks: list[str], networks: list[str] | None, threads: list[int], *, quick: bool = False) -> list[Job]:
    """Return what is measured here: everything with batches of 128, the essential variants also with 64."""
    return [
        Job(task, network, batch, count, variant)
        for task in tasks
        for network in NETWORKS
        for count in (threads[:1] if quick else threads)
        for batch, variants in ((64, ESSENTIAL), (128, ESSENTIAL if quick else VARIANTS))
        for variant in variants
        if (not networks or network in networks) and (variant != "jax" or (network != "lenet5" and find_spec("jax")))
    ]


def measure(job: Job, seconds: float = 1.0) -> Row:
    """Return the times of a step, the first step's, and the peak memory of the process."""
    if job.way == "jax" and hasattr(os, "sched_setaffinity"):  # its threads are as many as there are cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    make, size, loss = NETWORKS[job.network]
    model = make().train(job.task == "training")
    images, labels = torch.randn(job.batch, *size), torch.randint(0, 10, (job.batch,))
    with ExitStack() as stack:
        if job.task == "inference":
            stack.enter_context(torch.no_grad() if job.way == "pytorch" else torch.inference_mode())
        if job.way == "jax":
            return timed(jax_step(job, plain(model), images, labels), seconds=seconds)
        compute, images = ready(job, model, images, stack)
        if job.task == "inference":
            return timed(lambda: compute(images), seconds=seconds)
        return timed(training_step(job, model, compute, make_loss(loss), images, labels), seconds=seconds)


def ready(job: Job, model: nn.Module, images: Tensor, stack: ExitStack) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return what computes the model as the job's variant does, and the images as it takes them."""
    size = tuple(images.shape[1:])
    if job.way.startswith("striate"):
        small = None if job.way == "striate fused" else False
        options = RuntimeOptions(precision="high", threads=job.threads, small=small)
        runtime = choose(options, not_small=why_not_small(model, size))
        if small is None and not runtime.small:
            raise SystemExit(f"not computed as one: {runtime.reasons['small']}")
        stack.enter_context(runtime.applied())
        network = runtime.network(model, size)
        if network is model:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network, runtime.laid_out(images)
    plain(model)
    if job.way == "torch.compile":
        return compiled(model), images
    if job.way == "pytorch channels_last":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model, images.contiguous(memory_format=torch.channels_last)
    return model, images


def training_step(
    job: Job,
    model: nn.Module,
    compute: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
) -> Step:
    """Return forward, loss, backward and AdamW: with Striate's settings for its variants, else as people write it."""
    optimizer = (
        make_optimizer(OptimizerOptions("adamw", lr=RATE, weight_decay=0.01), model)
        if job.way.startswith("striate")
        else torch.optim.AdamW(model.parameters(), lr=RATE)
    )

    def step() -> Tensor:
        value = loss(compute(images), labels)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return value

    return step


def jax_step(job: Job, model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """Return the step in JAX."""
    import plain_jax

    assert isinstance(model, nn.Sequential)
    if job.task == "inference":
        return plain_jax.prediction(model, images)
    return plain_jax.training_step(model, images, labels, RATE)


def report(rows: list[Row]) -> str:
    """Return what the numbers say, and a table for each task."""
    parts = [f"{machine()}; {versions(*packages())}.", f"{claim(rows)} {noise(rows)}"]
    columns = ["network", "batch", "threads", "variant", "ms", "pictures/s", "pytorch / this"]
    columns += ["slowest / fastest round", "CPU ms", "first step s", "peak MiB"]
    pairs = [("striate fused", peer) for peer in ("pytorch", "torch.compile", "jax", "striate layers")]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        parts.append(f"### Small networks: {task}\n\n{comparison(own, pairs, ['network', 'batch', 'threads'])}")
        parts.append(table(own, columns))
    return "\n\n".join(parts)


def claim(rows: list[Row]) -> str:
    """Say how many times as fast as eager PyTorch training steps are, and whether that is what is wanted."""
    fused = [row for row in rows if row["task"] == "training" and row["variant"] == "striate fused"]
    found = sorted(times for row in fused if (times := ratio(row, rows, "pytorch")))
    if not found:
        return "No training step was measured both fused and in eager PyTorch."
    reached = sum(times >= WANTED for times in found)
    return (
        f"A training step computed as one is {found[0]:.1f} to {found[-1]:.1f} times as fast as in eager PyTorch; "
        f"{WANTED:g} times are wanted, {reached} of {len(found)} rows have them."
    )


def packages() -> list[str]:
    """Return the names of what is compared."""
    return ["torch", *(name for name in ("jax",) if find_spec(name))]


if __name__ == "__main__":
    main()
