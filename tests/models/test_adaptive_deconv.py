"""The adaptive deconvolutional network: its operators, its inference, and filters it finds again."""

import math
import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from scipy.signal import convolve2d
from torch import Tensor

from striate.errors import InputError
from striate.models import build, card
from striate.models.adaptive_deconv import (
    SMALL,
    AdaptiveDeconv,
    Layer,
    Switches,
    pool,
    pool_by,
    shrink,
    unpool,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "adaptive_deconvolution.py"
# pooling windows that hang over the edge: 5 maps by 2, 13 x 11 positions by 3
TINY = (Layer(5, 3, 2, 3, 4.0), Layer(3, 2, 2, 2, 4.0))
SIZE = (11, 9)
PLAIN = (Layer(3, 3, 1, 1, 5.0),)  # pooling windows of one value: convolutional sparse coding as usual


def network(table: tuple[Layer, ...] = TINY, channels: int = 2) -> AdaptiveDeconv:
    return AdaptiveDeconv(table, channels=channels, seed=3).double()


def images(count: int = 2, channels: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, channels, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def matrix(net: AdaptiveDeconv, shape: tuple[int, ...], switches: tuple[Switches, ...]) -> Tensor:
    """R as a dense matrix, image x maps, for one image."""
    units = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    rows = [net.reconstruct(unit[None], switches).flatten() for unit in units]
    return torch.stack(rows, 1)


def test_reconstruction_is_the_sum_of_convolutions() -> None:
    """Equation 2 by SciPy's convolution, and the second layer through the switches of the first by loops."""
    net = network()
    codes = net.infer(images(), steps=3)
    z1 = torch.randn(codes.maps[0].shape, dtype=torch.float64)
    z2 = torch.randn(codes.maps[1].shape, dtype=torch.float64)
    f1, f2 = net.filters(1).numpy(), net.filters(2).numpy()

    def layer(z: np.ndarray, f: np.ndarray) -> np.ndarray:
        return np.array([sum(convolve2d(z[k], f[c, k], "valid") for k in range(len(z))) for c in range(len(f))])

    assert net.reconstruct(z1, ()).shape == (2, 2, *SIZE)
    for n in range(2):
        np.testing.assert_allclose(net.reconstruct(z1, ())[n], layer(z1[n].numpy(), f1), atol=1e-12)
        pooled = layer(z2[n].numpy(), f2)
        below = np.zeros(z1.shape[1:])
        where = codes.switches[0].where[n, 0].numpy()
        for index in np.ndindex(*where.shape):
            below.flat[where[index]] = pooled[index]
        np.testing.assert_allclose(net.reconstruct(z2, codes.switches[:1])[n], layer(below, f1), atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2])
def test_projection_is_the_transpose(depth: int) -> None:
    net = network()
    codes = net.infer(images(), steps=3)
    z, e = torch.randn(codes.maps[depth - 1].shape, dtype=torch.float64), images() * 2 - 1
    switches = codes.switches[: depth - 1]
    left, right = (net.reconstruct(z, switches) * e).sum(), (z * net.project(e, switches)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
    assert abs(left) > 0.1


@pytest.mark.parametrize("depth", [1, 2])
def test_gradient_by_finite_differences(depth: int) -> None:
    """weight R'(R z - y) is the slope of the cost without its last term."""
    net = network()
    y = images()
    codes = net.infer(y, steps=3)
    switches, weight = codes.switches[: depth - 1], TINY[depth - 1].weight
    z = torch.randn(codes.maps[depth - 1].shape, dtype=torch.float64)
    gradient = weight * net.project(net.reconstruct(z, switches) - y, switches)
    for seed in range(3):
        way = torch.randn(z.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        h = 1e-4
        ahead, behind = (net.cost(y, z + s * h * way, switches) - float((z + s * h * way).abs().sum()) for s in (1, -1))
        assert (ahead - behind) / (2 * h) == pytest.approx(float((gradient * way).sum()), rel=1e-6)


def test_shrinking_is_the_closed_form() -> None:
    """It minimises (x - z)^2 / 2 + threshold |x|: no point of a fine grid is better."""
    grid = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    for z in (-3.0, -0.7, -0.2, 0.0, 0.5, 0.51, 2.0):
        best = grid[((grid - z) ** 2 / 2 + 0.5 * grid.abs()).argmin()]
        assert shrink(torch.tensor(z, dtype=torch.float64), 0.5).item() == pytest.approx(best.item(), abs=1.1e-3)


def test_pooling_keeps_the_largest_magnitude() -> None:
    z = torch.randn(2, 5, 7, 8)
    p, switches = pool(z, Layer(5, 3, 2, 3, 1.0))
    assert p.shape == (2, 3, 3, 3)
    for n, m, i, j in np.ndindex(2, 3, 3, 3):
        area = z[n, 2 * m : 2 * m + 2, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
        assert p[n, m, i, j] == area.flatten()[area.abs().argmax()]  # with its sign
    spread = unpool(p, switches)
    assert torch.equal(spread[spread != 0], z[spread != 0])
    assert (spread != 0).sum() == p.numel()
    assert torch.equal(pool_by(spread, switches), p)
    again, same = pool(spread, Layer(5, 3, 2, 3, 1.0))
    assert torch.equal(again, p)
    assert torch.equal(same.where, switches.where)
    assert (p < 0).any()


def test_sparse_codes_are_optimal() -> None:
    """Without pooling the problem is convex: the subgradient conditions of the lasso hold where inference ends."""
    net, y = network(PLAIN), images()
    z = net.infer(y, steps=3000).maps[0]
    slope = 5.0 * net.project(y - net.reconstruct(z, ()), ())
    assert slope.abs().max() < 1 + 1e-5
    torch.testing.assert_close(slope[z != 0], z[z != 0].sign(), atol=1e-5, rtol=0)
    assert 0.02 < (z != 0).double().mean() < 0.9


@pytest.mark.parametrize("seed", range(4))
def test_the_cost_never_rises(seed: int) -> None:
    y = torch.randn(2, 2, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    net = network()
    codes = net.infer(y, steps=40)
    for depth, costs in enumerate(codes.costs):
        assert len(costs) == 41
        assert costs[0] == pytest.approx(float(TINY[depth].weight / 2 * y.square().sum()))  # maps of 0
        assert all(after <= before for before, after in pairwise(costs))
        assert costs[1] < costs[0]
        assert costs[-1] < 0.9 * costs[0]
        assert costs[-1] == pytest.approx(net.cost(y, codes.maps[depth], codes.switches[:depth]))


@pytest.mark.parametrize("depth", [1, 2])
def test_steps_of_one_over_lipschitz_need_no_care(depth: int) -> None:
    """The proximal gradient method written down with the dense matrix: with 1 / |R|^2 no step raises the cost."""
    net, y = network(), images(1)
    codes = net.infer(y, steps=5)
    switches, layer = codes.switches[: depth - 1], TINY[depth - 1]
    shape = tuple(codes.maps[depth - 1].shape[1:])
    R = matrix(net, shape, switches)
    norm = float(torch.linalg.matrix_norm(R, ord=2) ** 2)
    assert 0.7 * norm < net.lipschitz(y, switches) <= norm * (1 + 1e-9)
    assert net.lipschitz(y, switches, rounds=200) == pytest.approx(norm, rel=1e-2)
    z = torch.zeros(1, *shape, dtype=torch.float64)
    costs = [net.cost(y, z, switches)]
    for _ in range(30):
        moved = z.flatten() - R.T @ (R @ z.flatten() - y.flatten()) / norm
        z = shrink(moved.view(1, *shape), 1 / (layer.weight * norm))
        z = unpool(*pool(z, layer))
        costs.append(net.cost(y, z, switches))
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(costs))
    found = net.infer(y, depth, steps=30).costs[depth - 1]
    if depth == 1:
        assert found[-1] == pytest.approx(costs[-1], rel=0.03)


def test_a_step_too_long_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    net, y = network(), images()
    real = net.lipschitz
    monkeypatch.setattr(net, "lipschitz", lambda *operands: real(*operands) / 50)
    for costs in net.infer(y, steps=40).costs:
        assert all(after <= before for before, after in pairwise(costs))
        assert costs[1] == costs[0]  # taken back
        assert costs[-1] < 0.9 * costs[0]


def test_maps_take_over_the_lengths_of_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters fitted three times as long come back to length 1, and their maps are three times as large."""
    net, y = network(PLAIN), images()
    monkeypatch.setattr(net, "_fit", lambda *_: 3 * net.filters(1))
    starts, ends, settle = [], [], net._settle

    def watched(y: Tensor, z: Tensor | None, switches: list[Switches], steps: int) -> tuple[Tensor, list[float]]:
        starts.append(z)
        ends.append(settle(y, z, switches, steps))
        return ends[-1]

    monkeypatch.setattr(net, "_settle", watched)
    before = net.filters(1).clone()
    net.learn(y, epochs=1, steps=2)
    torch.testing.assert_close(starts[1], 3 * ends[0][0])
    torch.testing.assert_close(net.filters(1), before)


def test_maps_are_what_their_switches_say() -> None:
    """At most one value in each neighbourhood, so pooled maps and maps rebuild the same image."""
    net, y = network(), images()
    codes = net.infer(y, steps=10)
    for z, switches, layer in zip(codes.maps, codes.switches, TINY, strict=True):
        p, _ = pool(z, layer)
        assert torch.equal(unpool(p, switches), z)
        assert (z != 0).any()
    assert net.infer(y, 1, steps=10).maps[0].equal(codes.maps[0])


@pytest.mark.parametrize("depth", [1, 2])
def test_filters_are_fitted_by_least_squares(depth: int) -> None:
    """Conjugate gradients with as many steps as numbers: no filters rebuild the images better."""
    net, y = network(), images(3)
    switches = net.infer(y, steps=10).switches[: depth - 1]
    shape = (3, TINY[depth - 1].maps, *net.project(y, switches).shape[2:])
    z = torch.randn(shape, dtype=torch.float64)
    filters = net.filters(depth)
    fitted = net._fit(y, z, switches, filters.numel())
    columns = []
    for number in range(filters.numel()):
        net.get_buffer(f"filters{depth}").copy_(
            torch.eye(filters.numel(), dtype=torch.float64)[number].view_as(filters)
        )
        columns.append(net.reconstruct(z, switches).flatten())
    least = torch.linalg.lstsq(torch.stack(columns, 1), y.flatten()[:, None]).solution
    torch.testing.assert_close(fitted.flatten(), least.flatten(), rtol=1e-5, atol=1e-7)


def test_learning_lowers_the_cost_and_keeps_lengths() -> None:
    net, y = network(), images(4)
    before = [costs[-1] for costs in net.infer(y, steps=30).costs]
    net.learn(y, epochs=5, steps=10)
    after = [costs[-1] for costs in net.infer(y, steps=30).costs]
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.9 * before[1]
    for depth in (1, 2):
        lengths = net.filters(depth).square().sum((0, 2, 3))
        torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_known_filters_are_found_again() -> None:
    """Images made of few copies of two filters: learning finds both, but for shift and sign (from most starts)."""
    random = torch.Generator().manual_seed(0)
    table = (Layer(2, 7, 1, 1, 3.0),)
    known = torch.zeros(1, 2, 7, 7)
    known[0, 0, 2:5, 1:6] = torch.tensor([0.4, 1.0, 0.4])[:, None] * torch.tensor([1.0, 0.0, -1.0, 0.0, 1.0])
    known[0, 1, 1, 1:6] = known[0, 1, 1:6, 1] = 1.0
    known = known / known.square().sum((0, 2, 3)).sqrt().view(-1, 1, 1)
    truth, net = AdaptiveDeconv(table), AdaptiveDeconv(table, seed=2)
    truth.get_buffer("filters1").copy_(known)
    shape = (10, 2, 26, 26)
    sign = torch.randint(2, shape, generator=random) * 2 - 1
    z = (1 + torch.rand(shape, generator=random)) * sign * (torch.rand(shape, generator=random) < 0.01)

    def likeness() -> Tensor:  # learnt x known: the largest correlation at any shift
        padded = torch.nn.functional.pad(net.filters(1)[0][:, None], (4,) * 4)
        return torch.nn.functional.conv2d(padded, known[0][:, None]).abs().flatten(2).amax(2)

    assert likeness().max() < 0.7
    net.learn(truth.reconstruct(z, ()), epochs=16, steps=5, descents=3)
    found = likeness()
    assert found.amax(0).min() > 0.97, found
    assert set(found.argmax(0).tolist()) == {0, 1}


def test_the_state_is_saved() -> None:
    net, again = AdaptiveDeconv(TINY, seed=1), AdaptiveDeconv(TINY, seed=2)
    assert list(net.state_dict()) == ["filters1", "filters2"]
    assert not torch.equal(net.filters(2), again.filters(2))
    again.load_state_dict(load(save(net.state_dict())))
    assert torch.equal(net.filters(2), again.filters(2))
    assert torch.equal(AdaptiveDeconv(TINY, seed=1).filters(1), net.filters(1))


def test_awkward_images() -> None:
    net = AdaptiveDeconv(TINY)
    blank = net.infer(torch.zeros(2, 1, 8, 13), steps=3)
    assert all((z == 0).all() for z in blank.maps)
    assert blank.costs == ([0.0] * 4, [0.0] * 4)
    none = net.infer(torch.zeros(0, 1, 8, 13), steps=3)
    assert [z.shape[0] for z in none.maps] == [0, 0]
    one = net.infer(torch.ones(1, 1, 1, 1), steps=3)
    assert one.maps[0].shape == (1, 5, 3, 3)
    assert torch.isfinite(net.reconstruct(one.maps[1], one.switches[:1])).all()
    net.learn(torch.zeros(2, 1, 8, 13), epochs=2, steps=2)
    assert all(torch.isfinite(net.filters(depth)).all() for depth in (1, 2))


def test_the_default_s_sizes() -> None:
    codes = AdaptiveDeconv().infer(torch.zeros(1, 1, 48, 48), steps=1)
    assert [tuple(z.shape[1:]) for z in codes.maps] == [(12, 54, 54), (24, 24, 24)]
    assert [tuple(s.where.shape[2:]) for s in codes.switches] == [(4, 18, 18), (12, 12, 12)]
    assert len(SMALL) == 2


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: AdaptiveDeconv(()), "adaptive_deconv: the table needs at least one layer"),
        (
            lambda: AdaptiveDeconv(TINY).infer(torch.zeros(1, 3, 8, 8)),
            "adaptive_deconv: the images (1, 3, 8, 8) are not N x 1 x height x width",
        ),
        (
            lambda: AdaptiveDeconv(TINY).learn(torch.zeros(8, 8)),
            "adaptive_deconv: the images (8, 8) are not N x 1 x height x width",
        ),
        (
            lambda: AdaptiveDeconv(TINY).infer(torch.zeros(1, 1, 8, 8), 3),
            "adaptive_deconv: depth must be 1 to 2, the layers there are, got 3",
        ),
        (
            lambda: AdaptiveDeconv(TINY).infer(torch.zeros(1, 1, 8, 8), steps=0),
            "adaptive_deconv: steps must be 1 or more, got 0",
        ),
        (
            lambda: build("adaptive-deconv"),
            "model 'adaptive-deconv' learns without labels and is no classifier to build: "
            "use striate.models.adaptive_deconv.AdaptiveDeconv",
        ),
    ],
)
def test_wrong_calls(call: object, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        call()  # type: ignore[operator]
    assert str(caught.value) == sentence
    assert card("adaptive-deconv").task == "unsupervised"


@pytest.mark.slow
def test_the_example_keeps_its_claim(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE))["main"]()
    assert "components" in capsys.readouterr().out
