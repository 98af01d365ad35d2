"""The losses of LeCun et al. 1998 against their formulas in NumPy, and their derivatives."""

import numpy as np
import pytest
import torch

from striate.training import LossOptions
from striate.training._losses import make_loss, rbf_map, rbf_mse


@pytest.fixture
def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    distances = 30 * torch.rand(7, 5, generator=generator, dtype=torch.float64)
    return -distances, torch.tensor([0, 4, 2, 2, 1, 3, 0])


def test_mse_is_the_mean_distance_to_the_right_centre(example: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = example
    expected = np.mean([-logits[n, k].item() for n, k in enumerate(labels.tolist())])
    assert rbf_mse(logits, labels).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("j", [0.1, 1.0, 10.0])
def test_map_is_equation_9(example: tuple[torch.Tensor, torch.Tensor], j: float) -> None:
    logits, labels = example
    y = -logits.numpy()
    terms = [y[n, k] + np.log(np.exp(-j) + np.exp(-y[n]).sum()) for n, k in enumerate(labels.tolist())]
    assert rbf_map(logits, labels, j=j).item() == pytest.approx(np.mean(terms), rel=1e-13)


def test_map_does_not_overflow_far_from_every_centre() -> None:
    logits = torch.tensor([[-1e4, -2e4]])
    assert rbf_map(logits, torch.tensor([0]), j=1.0).item() == pytest.approx(1e4 - 1.0)


@pytest.mark.parametrize("name", ["cross_entropy", "rbf_mse", "rbf_map"])
def test_derivatives(example: tuple[torch.Tensor, torch.Tensor], name: str) -> None:
    logits, labels = example
    loss = make_loss(LossOptions(name))  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits.requires_grad_(),))


def test_label_smoothing_spreads_the_target(example: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = example
    log_p = logits.log_softmax(1)
    target = torch.full_like(log_p, 0.1 / 5).scatter_(1, labels[:, None], 0.9 + 0.1 / 5)
    expected = -(target * log_p).sum(1).mean().item()
    assert make_loss(LossOptions(label_smoothing=0.1))(logits, labels).item() == pytest.approx(expected)
