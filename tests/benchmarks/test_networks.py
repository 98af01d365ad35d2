"""The benchmark of whole networks: what is planned, what is compared, and that its variants compute one network."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import networks as benchmark
from variants import AGAIN, Job, summary

from striate.models import build


def test_what_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None if name == "openvino" else name)
    jobs = benchmark.planned(["training", "inference"], ["resnet-18", "alexnet"], 2)
    assert {job.variant for job in jobs if job.task == "training"} == {*benchmark.TRAINERS, f"pytorch{AGAIN}"}
    predictors = {job.variant for job in jobs if job.task == "inference"}
    assert {"onnxruntime", "torch.compile", "striate", "striate exact", "striate bf16"} <= predictors
    assert not {"openvino f32", "openvino bf16"} & predictors
    assert {job.network for job in jobs if AGAIN in job.variant} == {"resnet-18"}
    assert {job.batch for job in jobs if job.task == "inference"} == {1, 16}
    assert not any(job.variant == "torch.compile" for job in benchmark.planned(["training"], None, 2, compiled=False))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Networks that are built at once, for pictures of 32 x 32, with an auxiliary classifier for "googlenet"."""
    every: list[nn.Module] = []

    class Card:
        channels, size, classes = 3, (32, 32), 4

    class WithAuxiliaries(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model, self.other = model, nn.Linear(3, 4)
            self.auxiliary_weights = {"other": 0.3}

        def forward_auxiliaries(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return self.model(x), {"other": self.other(x.mean((2, 3)))}

    def made(name: str) -> nn.Module:
        model = build("convnet", classes=4, channels=3, size=(32, 32), blocks=[[1, 8, 2]])
        every.append(WithAuxiliaries(model) if name == "googlenet" else model)
        return every[-1]

    monkeypatch.setattr(benchmark, "build_as_published", made)
    monkeypatch.setattr(benchmark, "card", lambda name: Card)
    return every


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("variant", ["pytorch again", "pytorch best", "striate exact", "striate", "onnxruntime"])
def test_predictions_are_those_of_one_network(variant: str, tmp_path: Path) -> None:
    job, threads = Job("inference", "convnet", 2, 1, variant), torch.get_num_threads()
    try:
        assert benchmark.measure(job, tmp_path, 0.0)["off"] < 1e-5
        other = torch.randn(1, 4, dtype=torch.float64)
        assert benchmark.error(other, job) > 1e-3, "an error would be seen"
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("network", ["convnet", "googlenet"])
@pytest.mark.parametrize("variant", ["pytorch", "pytorch bf16", "striate f32"])
def test_a_training_step_learns(network: str, variant: str, small: list[nn.Module]) -> None:
    """The loss falls; auxiliary classifiers have their part of it."""
    threads = torch.get_num_threads()
    try:
        with ExitStack() as stack:
            step: Any = benchmark.training(Job("training", network, 4, 1, variant), stack)
            first = float(step().detach())
            later = [float(step().detach()) for _ in range(200)]
            assert later[-1] < first
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small[0].parameters() if p.ndim > 1)
    finally:
        torch.set_num_threads(threads)


def test_the_report_compares_what_was_measured() -> None:
    def row(variant: str, ms: float) -> dict[str, Any]:
        found = {"ms": ms, "cpu_ms": ms, "first_s": 0.5, "mib": 900, "off": 2e-6}
        return summary(Job("inference", "vgg-d", 8, 2, variant), [found])

    text = benchmark.report([row("pytorch", 60.0), row("striate", 20.0), row(f"pytorch{AGAIN}", 66.0)])
    assert "| `vgg-d` | 8 | 3.00 |" in text
    assert "| `vgg-d` | 8 | striate | 20.0 | 3.00 | 1.00 | 0.5 | 900 | 2e-06 |" in text
    assert "factors of up to 1.10" in text
    assert "openvino" not in text.split("How many")[1]
