"""Time training steps and predictions on a GPU: Striate beside eager PyTorch, network by network.

    python benchmarks/gpu.py --write docs/performance.md

All ways of a network are timed in one process, in turn, several rounds; a step ends when the GPU has done it; medians.
"pytorch" is eager PyTorch as people write it: plain torch.nn modules, N x C x H x W, float32 (convolutions in TF32, as
PyTorch has it by itself). "bf16" is that under autocast, channels last. Striate's is what `striate train` computes.
Peak memory is what a step takes above the weights, by PyTorch's count. Weights and data are random.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plain_torch import plain
from sections import markdown_table, versions, write_record, write_section

from striate.models import build_as_published, card
from striate.models.auxiliary import HasAuxiliaries
from striate.runtime import Runtime, RuntimeOptions, choose
from striate.training import OptimizerOptions
from striate.training._optimizer import make_optimizer

LOADS = {"vgg-d": 64, "alexnet": 256, "resnet-18": 256, "resnet-50": 128, "googlenet": 256}
AGAIN = " again"  # the null control
WAYS = ("pytorch", f"pytorch{AGAIN}", "pytorch bf16", "striate")
ROUNDS, STEPS = 4, 6


class Row(NamedTuple):
    """What was measured: milliseconds of a training step and of a prediction, MiB that they take."""

    network: str
    batch: int
    way: str
    training: float
    prediction: float
    mib: float


def main() -> None:
    """Measure, print the table, perhaps write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=sorted(LOADS), default=list(LOADS), help="only these")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, a .json beside it")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU that PyTorch can use was found: this measures training on one")
    rows = [row for network in asked.networks for row in measured(network)]
    print(text := report(rows))
    if asked.write:
        write_section(asked.write, "gpu", text)
        write_record(
            asked.write, "gpu", {"gpu": torch.cuda.get_device_name(), "rows": [r._asdict() for r in rows]}, "torch"
        )


def measured(network: str) -> list[Row]:
    """Time all ways of a network in turn."""
    steps = {way: prepared(network, way.removesuffix(AGAIN)) for way in WAYS}
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for turn in range(ROUNDS + 1):
        for way, (train, predict) in steps.items():
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            times = (timed(train), timed(predict), (torch.cuda.max_memory_allocated() - held) / 2**20)
            found[way] += [times] if turn else []  # the first round warms up
    return [
        Row(network, LOADS[network], way, *(statistics.median(one[kind] for one in each) for kind in range(3)))
        for way, each in found.items()
    ]


def prepared(network: str, way: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return a training step and a prediction."""
    torch.manual_seed(0)
    ours = way == "striate"
    with torch.device("cuda"):
        model = build_as_published(network)
        model = model if ours else plain(model)
    runtime = choose(RuntimeOptions(), device="cuda") if ours else peer(way)
    if runtime.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    known, batch = card(network), LOADS[network]
    images = runtime.laid_out(torch.randn(batch, known.channels, *known.size, device="cuda"))
    labels = torch.randint(0, known.classes, (batch,), device="cuda")
    optimizer = (
        make_optimizer(OptimizerOptions("sgd", lr=1e-4), model)
        if ours
        else torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    )

    def applied() -> AbstractContextManager[object]:
        return runtime.applied() if ours else nullcontext()

    def train() -> None:
        model.train()
        with applied(), runtime.autocast("cuda"):
            loss = weighted_loss(model, images, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def predict() -> None:
        model.eval()
        with applied(), torch.inference_mode(), runtime.autocast("cuda"):
            model(images)

    return train, predict


def weighted_loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy, that of auxiliary classifiers added with their weights."""
    logits, named = model.forward_auxiliaries(images) if isinstance(model, HasAuxiliaries) else (model(images), {})
    loss = nn.functional.cross_entropy(logits.float(), labels)
    for name, output in named.items():
        loss = loss + model.auxiliary_weights[name] * nn.functional.cross_entropy(output.float(), labels)  # type: ignore[index,operator]
    return loss


def peer(way: str) -> Runtime:
    """Return how PyTorch computes: its own ways, or in bfloat16 and channels last."""
    bf16 = way == "pytorch bf16"
    return Runtime(precision="bf16" if bf16 else "high", channels_last=bf16)


def timed(call: Callable[[], None]) -> float:
    """Return the median milliseconds of a call, until the GPU has done it."""
    times = []
    for _turn in range(STEPS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times[2:])  # the first two find their memory


def report(rows: list[Row]) -> str:
    """Return the table: how many times as fast as eager PyTorch each way is."""
    eager = {row.network: row for row in rows if row.way == "pytorch"}
    body = [
        [
            f"`{row.network}`",
            str(row.batch),
            row.way,
            f"{row.training:.1f}",
            f"{eager[row.network].training / row.training:.2f}",
            f"{row.prediction:.1f}",
            f"{eager[row.network].prediction / row.prediction:.2f}",
            f"{row.mib:,.0f}",
        ]
        for row in rows
    ]
    head = ["network", "batch", "way", "training ms", "pytorch / this", "prediction ms", "pytorch / this", "MiB"]
    where = f"{torch.cuda.get_device_name()}; {versions('torch')}; medians of {ROUNDS} rounds of {STEPS - 2} steps."
    return f"{where}\n\n{markdown_table(head, body, right=3)}"


if __name__ == "__main__":
    main()
