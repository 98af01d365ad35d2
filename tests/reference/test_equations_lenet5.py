"""The example that writes LeNet-5's backward pass with the chapter's equations keeps its claim, and could miss it."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from striate.models import build

EXAMPLE = Path(__file__).parents[2] / "examples" / "lenet5_by_hand.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def test_every_gradient_equals_autograd(example, capsys):
    example["main"]()  # asserts its claim
    assert "60000 gradients, off by" in capsys.readouterr().out


def test_an_error_would_be_seen(example, monkeypatch):
    """A wrong rule for one layer's error term spoils the gradients of the layers below it, and only those."""
    torch.manual_seed(1)
    model = build("lenet5").double()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    images, labels = np.random.default_rng(1).uniform(-0.1, 1.175, (1, 1, 32, 32)), np.array([5])
    _, expected = example["by_autograd"](model, images, labels)
    scope = example["backward"].__globals__
    real = scope["dense_kernels"]
    monkeypatch.setitem(scope, "dense_kernels", lambda W, T: real(W, T)[..., ::-1])
    _, found = example["by_hand"](weights, images, labels)
    errors = example["worst_errors"](found, expected)
    assert {name for name, error in errors.items() if error > 1e-3} == {
        f"{layer}.{kind}" for layer in ("C1", "S2") for kind in ("weight", "bias")
    }
