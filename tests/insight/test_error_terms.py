"""Error terms against what the chain rule gives by hand; nothing of the model is changed by looking."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.insight import ErrorTerm, error_terms, first_filters
from striate.models import build


class TwoLayers(nn.Module):
    """z1 = W1 x + b1, z2 = W2 relu(z1) + b2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.relu(self.first(x)))
        return out


@pytest.fixture
def net() -> TwoLayers:
    torch.manual_seed(0)
    return TwoLayers().double()


X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 0, 1, 1])


def terms(model: nn.Module, x: Tensor = X, y: Tensor = Y) -> dict[str, ErrorTerm]:
    return {term.layer: term for term in error_terms(model, lambda: cross_entropy(model(x), y))}


def by_hand(net: TwoLayers, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """NumPy: the error terms of both layers picture by picture (softmax and cross-entropy: p - y), and dL/dW1."""
    w1, b1, w2, b2 = (p.detach().numpy() for p in net.parameters())
    z1 = x.numpy() @ w1.T + b1
    z2 = np.maximum(z1, 0) @ w2.T + b2
    p = np.exp(z2) / np.exp(z2).sum(1, keepdims=True)
    delta2 = p - np.eye(3)[y.numpy()]
    delta1 = (delta2 @ w2) * (z1 > 0)
    return delta1, delta2, delta1.T @ x.numpy() / len(x)


def test_the_chain_rule_by_hand(net: TwoLayers) -> None:
    found = terms(net)
    delta1, delta2, slope = by_hand(net, X, Y)
    assert list(found) == ["first", "second"]
    assert found["first"].error == pytest.approx(np.sqrt((delta1**2).sum(1).mean()), rel=1e-10)
    assert found["second"].error == pytest.approx(np.sqrt((delta2**2).sum(1).mean()), rel=1e-10)
    size = sum(float(p.detach().square().sum()) for p in net.first.parameters())
    whole = (slope**2).sum() + (delta1.mean(0) ** 2).sum()
    assert found["first"].gradient == pytest.approx(float((whole / size) ** 0.5), rel=1e-10)


def test_units_that_never_fire_are_dead(net: TwoLayers) -> None:
    with torch.no_grad():
        net.first.bias[2:5] = -1000.0
    found = terms(net)
    assert found["first"].dead == pytest.approx(3 / 8)
    assert found["second"].dead == 0.0


def test_a_map_lives_if_it_fires_anywhere() -> None:
    conv = nn.Conv2d(1, 2, 1)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(2 * 3 * 4, 2))
    with torch.no_grad():
        conv.weight.fill_(1.0)
        conv.get_parameter("bias").copy_(torch.tensor([-0.5, -2.0]))
    x = torch.zeros(2, 1, 3, 4)
    x[1, 0, 2, 1] = 1.0  # one place of one picture passes the first threshold, none the second
    assert terms(model, x, torch.tensor([0, 1]))["0"].dead == 0.5


def test_the_number_of_pictures_does_not_count(net: TwoLayers) -> None:
    once, thrice = terms(net), terms(net, X.repeat(3, 1), Y.repeat(3))
    assert thrice["first"].error == pytest.approx(once["first"].error, rel=1e-12)
    assert terms(net, X[:1], Y[:1])["second"].error > 0


def test_vanishing_and_exploding_are_seen() -> None:
    for scale, grows in ((0.1, False), (10.0, True)):
        layers = [nn.Linear(8, 8, bias=False) for _ in range(6)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight, gain=scale)  # each multiplies an error term's norm by the gain
        found = list(terms(nn.Sequential(*layers), torch.randn(4, 8), torch.arange(4)).values())
        assert found[0].error / found[-1].error == pytest.approx(scale**5, rel=1e-4)
        assert (found[0].error > found[-1].error) is grows


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_model_is_changed(training: bool) -> None:
    model = build("convnet", classes=4, channels=1, size=(12, 12), blocks=[[1, 4, 1]], norm="batch").train(training)
    x, y = torch.randn(3, 1, 12, 12), torch.tensor([0, 1, 2])
    cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    before = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    assert terms(model, x, y)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True) if p.grad is not None)
    assert model.training is training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_pass_that_fails_leaves_no_hooks_and_the_buffers(net: TwoLayers) -> None:
    def fail() -> Tensor:
        net(X)
        raise ValueError("no loss")

    with pytest.raises(ValueError, match="no loss"):
        error_terms(net, fail)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_layer_that_is_not_reached_and_one_that_is_used_twice() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.twice = nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.twice(self.twice(x))
            return out

    model = Odd().double()
    found = terms(model)
    assert list(found) == ["twice"]
    w = model.twice.weight.detach().numpy()
    z = model(X).detach().numpy()
    delta = np.exp(z) / np.exp(z).sum(1, keepdims=True) - np.eye(5)[Y.numpy()]
    both = (delta**2).sum(1) + ((delta @ w) ** 2).sum(1)
    assert found["twice"].error == pytest.approx(np.sqrt(both.mean()), rel=1e-10)


def test_recomputed_layers_tell_the_same() -> None:
    torch.manual_seed(0)
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = build("resnet-cifar-20", classes=3, channels=3, size=(8, 8), recompute=recompute)
        x, y = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([0, 1])
        found.append(terms(model, x, y))
    assert found[0].keys() == found[1].keys()
    for name, term in found[0].items():
        assert found[1][name][1:] == pytest.approx(term[1:], rel=1e-5), name


def test_the_first_filters_are_the_first_convolutions() -> None:
    model = build("lenet5", classes=10, channels=1, size=(32, 32))
    filters = first_filters(model)
    assert filters is not None
    assert (filters.layer, filters.kernels.shape) == ("C1", (6, 1, 5, 5))
    assert np.array_equal(filters.kernels, model.get_parameter("C1.weight").detach().double().numpy())
    assert first_filters(nn.Linear(3, 3)) is None
