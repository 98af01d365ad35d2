"""The dense CRF: the lattice against sums over all pairs of points, the mean field against the paper's equations."""

from typing import Any

import pytest
import torch
from torch import Tensor

from striate.errors import InputError
from striate.models._permutohedral import (
    PermutohedralLattice,
    _barycentric,
    _canonical,
    _elevation,
    _nearest_remainder_0,
)
from striate.models.dense_crf import NormalisedKernel, refine


def points(count: int, d: int) -> Tensor:
    return torch.rand(count, d, generator=torch.Generator().manual_seed(d)) * 3


def exact_kernel(features: Tensor) -> Tensor:
    """Equation 3 for all pairs, normalised by the roots of its row sums."""
    kernel = torch.exp(-(torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist") ** 2) / 2)
    root = kernel.sum(1, keepdim=True).rsqrt()
    return root * kernel * root.t()


@pytest.mark.parametrize(("d", "mean_error"), [(1, 0.009), (2, 0.011), (3, 0.0125), (5, 0.025)])
def test_filtering_is_near_the_sum_over_all_pairs(d: int, mean_error: float) -> None:
    """The lattice approximates a Gaussian: a few per cent on average, as Adams et al. find."""
    features, values = points(600, d), torch.rand(600, 4, generator=torch.Generator().manual_seed(1))
    found, exact = NormalisedKernel(features)(values), exact_kernel(features) @ values
    error = (found - exact).abs() / exact
    assert error.mean() < mean_error
    assert error.max() < 0.25


@pytest.mark.parametrize("d", [1, 2])
def test_an_impulse_spreads_with_deviation_1(d: int) -> None:
    """Splatting, blurring and slicing together have the variance of the Gaussian, on every axis."""
    steps = torch.arange(-50, 51) / 10
    features = torch.stack(torch.meshgrid(*[steps] * d, indexing="ij"), -1).view(-1, d)
    found = []
    for shift in torch.linspace(0, 1, 8):  # where in its simplex the impulse lies
        lattice = PermutohedralLattice(features + shift)
        impulse = (features == 0).all(1)[:, None].float()
        response = lattice.filter(impulse)
        found.append((response * features**2).sum(0) / response.sum())
    torch.testing.assert_close(torch.stack(found).mean(0), torch.ones(d), rtol=0.05, atol=0)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_every_point_is_the_weighted_mean_of_its_corners(d: int) -> None:
    """The corners are those of its simplex, the weights barycentric: 0 to 1, together 1."""
    features = (points(200, d).double() - 1.5) * 7
    elevated = features @ _elevation(d, features)
    torch.testing.assert_close(elevated.sum(1), torch.zeros(200, dtype=torch.float64))
    base, rank = _nearest_remainder_0(elevated)
    weights = _barycentric(elevated, base, rank)
    corners = base[:, None, :] + _canonical(d, features.device)[rank].transpose(1, 2)
    assert torch.equal(corners.sum(2), torch.zeros_like(corners[..., 0]))
    assert torch.equal(corners % (d + 1), torch.arange(d + 1)[:, None].expand_as(corners))
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(1), torch.ones(200, dtype=torch.float64))
    torch.testing.assert_close((weights[:, :, None] * corners).sum(1), elevated)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_neighbours_are_one_step_along_each_direction(d: int) -> None:
    """Found by comparing all pairs of lattice points."""
    lattice = PermutohedralLattice(points(60, d) * 2)
    keys = lattice._first
    assert len(set(map(tuple, keys.tolist()))) == len(keys) == lattice.count
    for axis, (before, after) in enumerate(lattice.neighbours):
        step = torch.ones(d + 1, dtype=torch.long)
        step[axis] -= d + 1
        for sign, rows in ((-1, before), (1, after)):
            same = ((keys + sign * step)[:, None] == keys[None]).all(2)
            expected = torch.where(same.any(1), same.long().argmax(1), lattice.count)
            assert torch.equal(rows, expected)


def test_equal_points_share_their_values() -> None:
    lattice = PermutohedralLattice(torch.zeros(5, 3))
    filtered = lattice.filter(torch.arange(5.0)[:, None])
    torch.testing.assert_close(filtered, filtered[:1].expand(5, 1))


def picture(height: int = 18, width: int = 22) -> tuple[Tensor, Tensor, Tensor]:
    """A bright square on a dark ground, both a little noisy; its labels; probabilities that are often wrong."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.zeros(height, width, dtype=torch.long)
    labels[4:13, 5:16] = 1
    image = (60 + 120 * labels + 8 * torch.randn(3, height, width, generator=draw)).clamp(0, 255)
    scores = torch.randn(3, height, width, generator=draw)
    scores.scatter_add_(0, labels[None], torch.ones(1, height, width))
    return scores.softmax(0), image, labels


def exact_mean_field(p: Tensor, image: Tensor, settings: dict[str, float]) -> Tensor:
    """Algorithm 1 with every pair of pixels, in float64."""
    classes, height, width = p.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([x, y], 2).view(-1, 2).double()
    colour = image.double().view(len(image), -1).t()
    both = torch.cat([place / settings["appearance_xy"], colour / settings["appearance_rgb"]], 1)
    kernel = settings["appearance_weight"] * exact_kernel(both)
    kernel += settings["smoothness_weight"] * exact_kernel(place / settings["smoothness_xy"])
    unary = -p.double().log().view(classes, -1).t()
    potts = 1 - torch.eye(classes, dtype=torch.float64)
    q = (-unary).softmax(1)
    for _ in range(int(settings["iterations"])):
        q = (-unary - (kernel @ q) @ potts).softmax(1)
    return q.t().view_as(p)


@pytest.mark.parametrize(
    "settings",
    [
        {"appearance_weight": 5.0, "appearance_xy": 50.0, "appearance_rgb": 10.0, "iterations": 10},
        {
            "appearance_weight": 4.0,
            "appearance_xy": 8.0,
            "appearance_rgb": 90.0,
            "smoothness_weight": 0,
            "iterations": 2,
        },
        {"appearance_weight": 0.0, "iterations": 5},
    ],
)
def test_equal_to_the_exact_mean_field(settings: dict[str, Any]) -> None:
    """Labels the same but for at most 4 pixels in a hundred, probabilities within some hundredths on average."""
    usual = {"appearance_xy": 50.0, "appearance_rgb": 10.0, "smoothness_weight": 3.0, "smoothness_xy": 3.0}
    p, image, _ = picture()
    found, exact = refine(p, image, **settings), exact_mean_field(p, image, usual | settings)
    torch.testing.assert_close(found.sum(0), torch.ones(p.shape[1:]))
    assert (found - exact).abs().mean() < 0.02
    assert (found.argmax(0) != exact.argmax(0)).float().mean() <= 0.04
    assert (exact - p).abs().mean() > 0.1  # the field changed what it was given


def test_labels_follow_the_edges_of_the_picture() -> None:
    p, image, labels = picture()
    wrong_before = (p.argmax(0) != labels).float().mean()
    wrong_after = (refine(p, image).argmax(0) != labels).float().mean()
    assert wrong_before > 0.3
    assert wrong_after < 0.05


def test_without_iterations_or_weights_nothing_changes() -> None:
    p, image, _ = picture(5, 4)
    torch.testing.assert_close(refine(p, image, iterations=0), p)
    torch.testing.assert_close(refine(p, image, appearance_weight=0.0, smoothness_weight=0.0), p)


def test_a_single_pixel_a_flat_picture_and_certainty() -> None:
    torch.testing.assert_close(refine(torch.full((4, 1, 1), 0.25), torch.zeros(3, 1, 1)), torch.full((4, 1, 1), 0.25))
    certain = torch.zeros(2, 6, 7)
    certain[1] = 1.0
    assert refine(certain, torch.full((1, 6, 7), 9, dtype=torch.uint8))[1].min() > 0.999


def test_lattices_too_large_for_their_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="64 points of 5 features lie too far apart"):
        PermutohedralLattice(points(64, 5) * 3e4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"p": torch.zeros(2, 3, 3)}, r"got \(2, 3, 3\) and \(3, 4, 5\)"),
        ({"p": torch.randn(2, 4, 5) * 9}, r"probabilities must be from 0 to 1; take logits.softmax\(0\) first"),
        ({"iterations": -1}, "iterations must be an integer of 0 or more, got -1"),
        ({"appearance_rgb": 0.0}, "appearance_rgb must be above 0, got 0.0"),
        ({"p": torch.full((2, 4, 5), float("nan"))}, "probabilities must be from 0 to 1"),
        ({"smoothness_xy": 1e-13, "appearance_weight": 0.0}, "lie too far apart; use larger deviations"),
    ],
)
def test_what_it_refuses(change: dict[str, Any], sentence: str) -> None:
    p = change.pop("p", torch.full((2, 4, 5), 0.5))
    with pytest.raises(InputError, match=sentence):
        refine(p, torch.zeros(3, 4, 5), **change)
