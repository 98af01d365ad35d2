"""Optimisers take the steps of their definitions; weight decay acts where it should."""

import pytest
import torch
from torch import nn

from striate.training import OptimizerOptions
from striate.training._optimizer import load_state_tensors, make_optimizer, state_tensors


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 4, 2)).to(dtype)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    optimizer.zero_grad()
    model(x.to(next(model.parameters()).dtype)).square().sum().backward()
    optimizer.step()


def test_rmsprop_follows_its_definition() -> None:
    """v <- d v + (1 - d) g^2; m <- mu m + g / (sqrt(v) + epsilon); w <- w - rate m, with g + decay w as g."""
    options = OptimizerOptions(
        "rmsprop", lr=0.1, momentum=0.9, beta2=0.8, epsilon=1.0, weight_decay=0.01, decay_all=True
    )
    model = network()
    optimizer = make_optimizer(options, model)
    weights = [p.detach().clone() for p in model.parameters()]
    squares, moments = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    for _ in range(4):
        step(model, optimizer)
        for k, p in enumerate(model.parameters()):
            assert p.grad is not None
            gradient = p.grad + 0.01 * weights[k]
            squares[k] = 0.8 * squares[k] + 0.2 * gradient**2
            moments[k] = 0.9 * moments[k] + gradient / (squares[k].sqrt() + 1.0)
            weights[k] = weights[k] - 0.1 * moments[k]
            torch.testing.assert_close(p.detach(), weights[k])


@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw"])
def test_weight_decay_spares_biases_and_norms_unless_told(name: str, decay_all: bool) -> None:
    options = OptimizerOptions(name, weight_decay=0.5, decay_all=decay_all)  # type: ignore[arg-type]
    model = network()
    decays = {
        id(p): group["weight_decay"] for group in make_optimizer(options, model).param_groups for p in group["params"]
    }
    for p in model.parameters():
        assert decays[id(p)] == (0.5 if decay_all or p.ndim >= 2 else 0.0)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw"])
def test_all_operations_of_a_step_are_taken_in_one_pass(name: str) -> None:
    """Of float32, contiguous or channels last, whatever the layout of a gradient; the steps are those of float64."""
    nesterov = name == "nesterov"
    kind = "sgd" if nesterov else name
    options = OptimizerOptions(kind, lr=0.01, nesterov=nesterov, weight_decay=0.1)  # type: ignore[arg-type]
    model, exact, other = network(torch.float32), network(), network(torch.float32)
    other.to(memory_format=torch.channels_last)
    optimizers = [make_optimizer(options, each) for each in (model, exact, other)]
    assert [bool(optimizer.defaults["fused"]) for optimizer in optimizers] == [True, False, True]
    for turn in range(5):
        for each in zip(*(each.parameters() for each in (model, exact, other)), strict=True):
            gradient = torch.randn_like(each[0])
            for p in each:
                p.grad = torch.empty_like(p).copy_(gradient)  # in the parameter's own layout, as autograd has it
                p.grad = p.grad.contiguous() if turn == 3 else p.grad
        for optimizer in optimizers:
            optimizer.step()
    for p, q, r in zip(model.parameters(), exact.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.double(), q, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(r.double(), q, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw"])
def test_the_state_goes_over_as_tensors(name: str, dtype: torch.dtype, layout: torch.memory_format) -> None:
    """Contiguous ones, as a file has them."""
    options = OptimizerOptions(name, lr=0.01, momentum=0.9, weight_decay=0.1, decay_all=True)  # type: ignore[arg-type]
    whole, first, second = (network(dtype).to(memory_format=layout) for _ in range(3))  # type: ignore[call-overload]
    a, b, c = (make_optimizer(options, model) for model in (whole, first, second))
    for _ in range(4):
        step(whole, a)
    for _ in range(2):
        step(first, b)
    second.load_state_dict(first.state_dict())
    load_state_tensors(c, {key: value.contiguous() for key, value in state_tensors(b).items()})
    for _ in range(2):
        step(second, c)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters(), strict=True))
