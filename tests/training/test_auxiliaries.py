"""Auxiliary classifiers add their loss, weighted, while training; the loop finds them by the protocol alone."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.models.auxiliary import HasAuxiliaries
from striate.runtime import Runtime
from striate.training._loop import Trainer


class Network(nn.Module):
    """Two auxiliary classifiers of known logits."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary_weights = {"aux1": 0.3, "aux2": 0.5}

    def forward(self, x: Tensor) -> Tensor:
        return x

    def forward_auxiliaries(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return x, {"aux1": 2 * x, "aux2": -x}


def outputs_and_loss(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    run, device = SimpleNamespace(runtime=Runtime()), torch.device("cpu")
    trainer: Any = SimpleNamespace(
        model=model, network=model, task=SimpleNamespace(loss=cross_entropy), run=run, device=device
    )
    return Trainer.outputs_and_loss(trainer, x, labels)


def test_each_auxiliary_adds_its_weight_times_its_loss() -> None:
    x, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    assert isinstance(Network(), HasAuxiliaries)
    logits, loss = outputs_and_loss(Network(), x, labels)
    assert torch.equal(logits, x)
    expected = cross_entropy(x, labels) + 0.3 * cross_entropy(2 * x, labels) + 0.5 * cross_entropy(-x, labels)
    torch.testing.assert_close(loss, expected)


def test_a_network_without_them_has_its_own_loss_only() -> None:
    x, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    assert not isinstance(nn.Identity(), HasAuxiliaries)
    assert torch.equal(outputs_and_loss(nn.Identity(), x, labels)[1], cross_entropy(x, labels))
