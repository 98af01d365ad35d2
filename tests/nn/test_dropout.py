"""Dropout: its random numbers are judged as random numbers, its values and gradients by the mask."""

import pytest
import torch
from torch import nn

from striate.nn import Dropout
from striate.nn._dropout import random_mask

MANY = 1 << 19


def mask(p: float, *shape: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return random_mask(torch.empty(shape or (MANY,)), p)[0]


@pytest.mark.parametrize("p", [0.5, 0.25, 0.1, 0.4, 0.9, 1 / 256, 0.999])
def test_the_share_that_is_kept(p: float) -> None:
    """Over all, over each place within a word, and over each block of the tensor: within five standard deviations."""
    kept = mask(p).double()
    deviation = (p * (1 - p)) ** 0.5
    assert abs(kept.mean() - (1 - p)) < 5 * deviation / MANY**0.5
    for rows in (kept.view(-1, 8).mean(0), kept.view(4, -1).mean(1), kept.view(64, -1).mean(1)):
        assert (rows - (1 - p)).abs().max() < 5 * deviation / (MANY / len(rows)) ** 0.5


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_neighbours_and_masks_are_independent(p: float) -> None:
    """No correlation at any distance within a few words, nor with the next mask, nor that of the next seed."""
    torch.manual_seed(0)
    kept, after = (random_mask(torch.empty(MANY), p)[0].double() - (1 - p) for _ in range(2))
    bound = 5 * p * (1 - p) / MANY**0.5
    for distance in (*range(1, 33), 624, 1248, 2496):  # 624 words are the state of the generator
        assert (kept[:-distance] * kept[distance:]).mean().abs() < 1.01 * bound
    for other in (after, mask(p, seed=1).double() - (1 - p)):
        assert (kept * other).mean().abs() < bound


def test_patterns_of_eight_are_equally_likely() -> None:
    """The chi-squared statistic of 256 patterns: mean 255, standard deviation 22.6."""
    places = 2 ** torch.arange(8)
    counts = torch.bincount((mask(0.5).view(-1, 8) * places).sum(1), minlength=256).double()
    expected = MANY / 8 / 256
    assert 255 - 5 * 22.6 < ((counts - expected) ** 2 / expected).sum() < 255 + 5 * 22.6


@pytest.mark.parametrize("p", [0.5, 0.3, 1 / 3, 1e-9, 1 - 1e-9])
def test_the_scale_is_one_over_the_probability_that_was_met(p: float) -> None:
    x = torch.ones(1000, dtype=torch.float64)
    keep, scale = random_mask(x, p)
    torch.manual_seed(3)
    y = Dropout(p)(x)
    assert set(y.unique().tolist()) <= {0.0, scale}
    assert abs(1 / scale - (1 - p)) <= 1 / 65536
    exactly = {
        0.5: 2.0,
        0.3: 65536 / (65536 - 19661),
        1 / 3: 65536 / (65536 - 21845),
        1e-9: 65536 / 65535,
        1 - 1e-9: 65536,
    }
    assert scale == exactly[p]
    assert keep.dtype == torch.bool


def test_the_seed_decides_and_threads_do_not() -> None:
    x, layer = torch.ones(3, 50, 41), Dropout(0.5)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(7)
            results.append((layer(x), layer(x)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[0][1])
    torch.manual_seed(8)
    assert not torch.equal(layer(x), results[0][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_follow_the_mask(dtype: torch.dtype) -> None:
    x = torch.randn(4, 30, dtype=dtype).requires_grad_()
    grad = torch.randn(4, 30, dtype=dtype)
    y = Dropout(0.5)(x)
    (found,) = torch.autograd.grad(y, x, grad)
    assert y.dtype == found.dtype == dtype
    assert torch.equal(found, torch.where(y == 0, 0, 2 * grad))
    assert torch.equal(y, torch.where(y == 0, 0, 2 * x))
    assert 20 < int((y == 0).sum()) < 100


def test_second_derivatives() -> None:
    layer = Dropout(0.4)

    def seeded(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        y: torch.Tensor = layer(x)
        return y.square()

    x = torch.randn(7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(seeded, x)
    assert torch.autograd.gradgradcheck(seeded, x)


def test_a_byte_per_element_is_kept() -> None:
    saved: list[torch.Tensor] = []
    x = torch.randn(1000).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        Dropout(0.5)(x)
    assert [(t.dtype, t.untyped_storage().nbytes()) for t in saved] == [(torch.bool, 1000)]


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(2, 5, 4, 3).contiguous(memory_format=torch.channels_last),
        torch.ones(2, 5, 4, 3).permute(3, 1, 0, 2),
        torch.ones(4, 6)[:, ::2],
        torch.ones(3, 1).expand(3, 5),
        torch.ones(0, 3),
        torch.ones(()),
        torch.ones(13),
    ],
)
def test_any_layout_and_size(x: torch.Tensor) -> None:
    y = Dropout(0.5)(x)
    assert random_mask(x, 0.5)[0].stride() == torch.empty_like(x).stride(), "elements and mask lie alike"
    assert y.shape == x.shape
    assert y.stride() == torch.empty_like(x).stride()
    assert bool(((y == 0) | (y == 2)).all())


def test_where_nothing_is_random() -> None:
    x = torch.randn(50)
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(50))
    assert repr(Dropout(0.3)) == "Dropout(p=0.3, inplace=False)"
    assert isinstance(Dropout(), nn.Dropout)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(1.5)


def test_in_place_it_is_pytorchs() -> None:
    x = torch.ones(100)
    assert Dropout(0.5, inplace=True)(x) is x
    assert set(x.unique().tolist()) == {0.0, 2.0}


def test_recomputed_it_drops_the_same() -> None:
    from torch.utils.checkpoint import checkpoint

    x = torch.randn(200).requires_grad_()
    y = checkpoint(Dropout(0.5), x, use_reentrant=False)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, torch.where(y == 0, 0.0, 2.0))


def test_compiled_and_transformed() -> None:
    x, layer = torch.ones(64), Dropout(0.5)
    torch.compiler.reset()
    assert set(torch.compile(layer, backend="aot_eager", fullgraph=True)(x).unique().tolist()) == {0.0, 2.0}
    rows = torch.func.vmap(layer, randomness="different")(torch.ones(4, 64))
    assert set(rows.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(rows[0], rows[1])
