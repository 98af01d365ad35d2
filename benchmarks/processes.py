"""Two ways to sum gradients over processes, side by side: Striate's buckets and PyTorch's DistributedDataParallel.

    python benchmarks/processes.py --rounds 15

Processes are forked and meet over gloo on this machine. For each network the ways take turns, a round each, on the
same batches; a round is a few steps (forward, backward, sum, SGD). Printed: milliseconds of a step (median and
quartiles over the rounds, of the slowest process) and the median of the ratio to DistributedDataParallel in the same
round. "at the end" is Striate's sum begun only when the backward pass is over. Batch normalisation is Striate's in all.

Then, for three processes: are the weights after six steps the same bits when the way is set up anew after the third, as
a resumed run does?
"""

import argparse
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from striate.models import build
from striate.training.processes import GradientSum, Processes, joined, share_batch_norm

STEPS = 3  # of a round
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {  # options and batch
    "lenet5-modern": ({}, (128, 1, 32, 32)),
    "convnet": ({"blocks": [[2, 32, 2], [2, 64, 2]]}, (64, 3, 32, 32)),
    "resnet-18": ({}, (8, 3, 96, 96)),
}
Way = Callable[[Tensor, Tensor], None]


def network(name: str, processes: Processes) -> nn.Module:
    """The network with Striate's batch normalisation, the same in all processes."""
    options, batch = NETWORKS[name]
    torch.manual_seed(0)
    model = build(name, classes=10, channels=batch[1], size=batch[2:], **options)
    share_batch_norm(model, processes)
    return model


def ours(model: nn.Module, processes: Processes, *, overlap: bool = True) -> Way:
    """A step with Striate's sum of gradients."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    total = GradientSum(model.parameters(), processes)

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(model(images), labels) / processes.size
        if overlap:
            total.backward(loss)
        else:
            total.backward(loss, more=True)
            total.backward(loss.new_zeros((), requires_grad=True))
        optimizer.step()

    return step


def pytorchs(model: nn.Module, processes: Processes) -> Way:
    """A step with DistributedDataParallel, which divides by the number of processes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False)

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(wrapped(images), labels).backward()
        optimizer.step()

    return step


def ways(name: str, processes: Processes) -> dict[str, Way]:
    """All ways, each with a network of its own."""
    return {
        "Striate": ours(network(name, processes), processes),
        "Striate, at the end": ours(network(name, processes), processes, overlap=False),
        "DistributedDataParallel": pytorchs(network(name, processes), processes),
    }


def batch(name: str, processes: Processes) -> tuple[Tensor, Tensor]:
    """The part of a batch that falls to this process."""
    shape = NETWORKS[name][1]
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(shape, generator=generator), torch.randint(10, shape[:1], generator=generator)
    part = processes.part(np.arange(shape[0]))
    return images[part], labels[part]


def timed(processes: Processes, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of a step by network, way and round, of the slowest process."""
    found: dict[str, dict[str, list[float]]] = {}
    for name in NETWORKS:
        own, all_ways = batch(name, processes), ways(name, processes)
        found[name] = {way: [] for way in all_ways}
        for number in range(rounds + 1):
            for way, step in all_ways.items():
                processes.wait()
                began = time.monotonic()
                for _ in range(STEPS):
                    step(*own)
                times = [(time.monotonic() - began) / STEPS if rank == processes.rank else 0.0 for rank in range(8)]
                if number:  # the first one warms up
                    found[name][way].append(max(processes.sums(*times)))
    return found


def resumed(processes: Processes) -> dict[str, bool]:
    """Whether the end has the same bits when network and way are set up anew in the middle."""
    name = "convnet"
    own = batch(name, processes)
    same = {}
    for way, make in (("Striate", ours), ("DistributedDataParallel", pytorchs)):
        ends = []
        for anew in (False, True):
            model = network(name, processes)
            step = make(model, processes)
            for number in range(6):
                if anew and number == 3:
                    before, model = model, network(name, processes)
                    model.load_state_dict(before.state_dict())
                    step = make(model, processes)
                step(*own)
            ends.append(model.state_dict())
        same[way] = all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))
    return same


def together(size: int, work: Callable[[Processes], Any]) -> Any:
    """Do the work in several processes; return what the first one found."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe(duplex=False)

    def one(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        torch.set_num_threads(1)
        with joined() as processes:
            result = work(processes)
        if rank == 0:
            theirs.send(result)

    children = [fork.Process(target=one, args=(rank,)) for rank in range(size)]
    for child in children:
        child.start()
    result = mine.recv()
    for child in children:
        child.join()
    return result


def main() -> None:
    """Print a table, or all figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--processes", type=int, default=2, choices=range(2, 9), metavar="2..8")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = options.parse_args()
    torch.set_num_threads(1)
    seconds = together(asked.processes, lambda processes: timed(processes, asked.rounds))
    same = together(3, resumed)
    if asked.json:
        print(json.dumps({"seconds": seconds, "bit_identical_when_set_up_anew": same}))
        sys.exit()
    for name, found in seconds.items():
        for way, times in found.items():
            low, middle, high = (1e3 * np.quantile(times, q) for q in (0.25, 0.5, 0.75))
            ratio = np.median(np.array(times) / np.array(found["DistributedDataParallel"]))
            print(f"{name:<14} {way:<24} {middle:7.1f} ms ({low:.1f} to {high:.1f})  {ratio:.2f}")
    for way, equal in same.items():
        print(f"set up anew after three of six steps, 3 processes, {way}: {'the same bits' if equal else 'other bits'}")


if __name__ == "__main__":
    main()
