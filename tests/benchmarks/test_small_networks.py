"""The benchmark of small networks: its peers compute what Striate's networks do, and it says what it found."""

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import small_networks as benchmark
from plain_torch import plain
from variants import Job, summary

from striate.nn import Fused, fused


@pytest.mark.parametrize("name", benchmark.NETWORKS)
def test_the_peer_is_the_same_network_of_plain_modules(name: str) -> None:
    make, size, _ = benchmark.NETWORKS[name]
    model = make()
    peer = plain(copy.deepcopy(model))
    x = torch.randn(3, *size)
    torch.testing.assert_close(peer(x), model(x))
    assert not any(type(module).__module__.startswith("striate.nn._conv") for module in peer.modules())
    peer(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in peer.parameters())
    assert isinstance(fused(model, size), Fused), "computed as one"


def test_what_is_planned() -> None:
    jobs = benchmark.planned(["training"], ["lenet5"], [1, 2])
    assert {job.threads for job in jobs} == {1, 2}
    assert {job.variant for job in jobs if job.batch == 64} == set(benchmark.ESSENTIAL)
    assert {job.variant for job in jobs if job.batch == 128} == {*benchmark.VARIANTS} - {"jax"}
    quick = benchmark.planned(["training"], None, [1, 2], quick=True)
    assert {job.threads for job in quick} == {1}
    assert len(quick) == 18


@pytest.mark.parametrize("variant", ["pytorch again", "pytorch channels_last", "striate layers", "striate fused"])
@pytest.mark.parametrize("task", ["training", "inference"])
def test_a_measurement(task: str, variant: str) -> None:
    threads = torch.get_num_threads()
    try:
        assert benchmark.measure(Job(task, "lenet5", 4, 1, variant), 0.0)["ms"] > 0
    finally:
        torch.set_num_threads(threads)


def test_the_claim_counts_the_rows_that_hold_it() -> None:
    def row(network: str, variant: str, ms: float) -> benchmark.Row:
        found = {"ms": ms, "cpu_ms": ms, "first_s": 0.1, "mib": 300}
        return summary(Job("training", network, 64, 1, variant), [found])

    rows = [row("a", "pytorch", 10.0), row("a", "striate fused", 2.0), row("b", "pytorch", 9.0)]
    rows.append(row("b", "striate fused", 3.0))
    assert "3.0 to 5.0 times as fast" in benchmark.claim(rows)
    assert "1 of 2 rows" in benchmark.claim(rows)
    assert benchmark.claim(rows[:1]).startswith("No training step")
    assert "| `a` | 64 | 1 | 5.00 |" in benchmark.report(rows)
