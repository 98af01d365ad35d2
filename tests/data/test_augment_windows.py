"""Windows of the canvas: random crops, scale jitter, random resized crops, against their definitions."""

import math

import numpy as np
import pytest
import torch

from striate.data import Augmentation, augment, sample_keys, uniform
from striate.errors import InputError

KEYS = sample_keys([f"s{k}" for k in range(400)])


def drawn(stream, seed=0, epoch=0, keys=KEYS):
    return uniform(seed, epoch, keys, f"augment/{stream}")


def ramp(n, height, width):
    """Two channels that hold x and y, so that a resampled pixel says where it was read."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).double().expand(n, 2, height, width)


def windows(options, canvas, size, n=400):
    """The (left, top, width, height) of each sample's window, read off the result."""
    result = augment(ramp(n, *canvas), KEYS[:n], seed=0, epoch=0, options=options, size=size).numpy()
    middle = result[:, :, size[0] // 2, size[1] // 2]
    across = (result[:, 0, 0, -2] - result[:, 0, 0, 1]) / (size[1] - 3)  # the inner ones: edges are continued
    down = (result[:, 1, -2, 0] - result[:, 1, 1, 0]) / (size[0] - 3)
    left = middle[:, 0] + 0.5 - across * (size[1] // 2 + 0.5)
    top = middle[:, 1] + 0.5 - down * (size[0] // 2 + 0.5)
    return left, top, across * size[1], down * size[0]


def test_a_random_crop_moves_pixels_only():
    x = torch.rand(400, 3, 9, 12)
    result = augment(x, KEYS, seed=0, epoch=0, options=Augmentation(), size=(6, 8))
    left, top = np.floor(drawn("crop-x") * 5).astype(int), np.floor(drawn("crop-y") * 4).astype(int)
    assert set(left) == {0, 1, 2, 3, 4}
    assert set(top) == {0, 1, 2, 3}
    for k in range(400):
        assert torch.equal(result[k], x[k, :, top[k] : top[k] + 6, left[k] : left[k] + 8])


def test_zoom_is_uniform_and_its_window_lies_anywhere_inside():
    left, top, width, height = windows(Augmentation(zoom=(2 / 3, 4 / 3)), (48, 48), (28, 28))
    zoom = 2 / 3 + 2 / 3 * drawn("zoom")
    np.testing.assert_allclose(width, 28 / zoom, rtol=1e-9)
    np.testing.assert_allclose(height, 28 / zoom, rtol=1e-9)
    np.testing.assert_allclose(left, drawn("crop-x") * (48 - width), atol=1e-9)
    np.testing.assert_allclose(top, drawn("crop-y") * (48 - height), atol=1e-9)


def test_an_area_is_uniform_and_its_aspect_within_the_bounds():
    left, top, width, height = windows(Augmentation(area=(0.08, 1.0), aspect=4 / 3), (64, 64), (56, 56))
    share = width * height / 64**2
    np.testing.assert_allclose(share, 0.08 + 0.92 * drawn("area"), rtol=1e-9)
    ratio = width / height
    assert 3 / 4 <= ratio.min() < 0.78
    assert 1.28 < ratio.max() <= 4 / 3 + 1e-12
    assert abs(np.log(ratio).mean()) < 0.02, "as often wide as high"
    assert min(left.min(), top.min()) > -1e-9
    assert (left + width).max() < 64 + 1e-9
    assert (top + height).max() < 64 + 1e-9
    small = share < 0.5  # these fit whatever their aspect
    np.testing.assert_allclose(np.log(ratio[small]), math.log(4 / 3) * (2 * drawn("aspect")[small] - 1), atol=1e-9)


@pytest.mark.parametrize("canvas", [(20, 60), (60, 20)])
def test_windows_of_canvases_that_are_not_square_stay_inside(canvas):
    left, top, width, height = windows(Augmentation(area=(0.5, 1.0), aspect=4 / 3), canvas, (16, 18))
    assert (width <= canvas[1] + 1e-9).all()
    assert (height <= canvas[0] + 1e-9).all()
    assert min(left.min(), top.min()) > -1e-9


def test_a_zoom_that_would_reach_outside_takes_the_whole_canvas():
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(augment(x, KEYS[:3], seed=0, epoch=0, options=Augmentation(zoom=(0.25, 0.5))), x)


def test_the_edge_of_a_window_is_not_darkened():
    white = torch.ones(50, 1, 16, 16)
    options = Augmentation(area=(0.05, 1.0), aspect=2.0)
    result = augment(white, KEYS[:50], seed=0, epoch=0, options=options, size=(12, 12))
    torch.testing.assert_close(result, white[:, :, :12, :12])


def test_a_window_of_the_turned_picture_is_cut_after_turning():
    """One resampling for both: the same positions as turning a smooth picture first and windowing it then."""
    options = Augmentation(rotate=30, scale=0.1)
    whole = augment(ramp(20, 60, 60), KEYS[:20], seed=0, epoch=0, options=options)
    one = augment(
        ramp(20, 60, 60),
        KEYS[:20],
        seed=0,
        epoch=0,
        options=Augmentation(rotate=30, scale=0.1, zoom=(4, 4)),
        size=(40, 40),
    )
    wide = 10.0
    left, top = (drawn("crop-x")[:20] * (60 - wide), drawn("crop-y")[:20] * (60 - wide))
    compared = 0
    for k in range(20):
        x, y = left[k] + wide / 2 - 0.5 * wide / 40 - 0.5, top[k] + wide / 2 - 0.5 * wide / 40 - 0.5
        a, b = int(y), int(x)
        square = whole[k, :, a : a + 2, b : b + 2].numpy()
        if (square < 3).any() or (square > 56).any():
            continue  # near the edge black mixes in
        u, v = x - b, y - a
        weights = np.array([[(1 - v) * (1 - u), (1 - v) * u], [v * (1 - u), v * u]])
        np.testing.assert_allclose(one[k, :, 19, 19].numpy(), (square * weights).sum((1, 2)), atol=1e-9)
        compared += 1
    assert compared > 5


@pytest.mark.parametrize("n", [0, 1])
def test_awkward_batches(n):
    x = torch.rand(n, 3, 10, 12)
    for options in (Augmentation(), Augmentation(area=(0.1, 1)), Augmentation(zoom=(1, 2), brightness=0.5)):
        assert augment(x, KEYS[:n], seed=0, epoch=0, options=options, size=(7, 5)).shape == (n, 3, 7, 5)


def test_a_window_larger_than_the_canvas_is_refused():
    with pytest.raises(InputError, match=r"augment: no window of 9 x 4 fits into pictures of 8 x 8"):
        augment(torch.rand(1, 1, 8, 8), KEYS[:1], seed=0, epoch=0, options=Augmentation(), size=(9, 4))
