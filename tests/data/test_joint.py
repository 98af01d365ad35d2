"""Pictures and masks changed together: a mask that is a function of its picture stays that function."""

import numpy as np
import pytest
import torch
from torch import Tensor

from striate.data import VOID, Augmentation, Preprocessing, augment, augment_scenes, sample_keys
from striate.data._joint import on_canvas
from striate.errors import InputError

KEYS = sample_keys([f"scene {k}" for k in range(24)])
MOVES = {
    "shift": Augmentation(shift=0.3),
    "turned": Augmentation(shift=0.1, scale=0.3, squeeze=0.2, shear=0.3, rotate=40),
    "mirrored": Augmentation(flip=0.5),
    "moved": Augmentation(crop=5, flip=0.5),
    "windows": Augmentation(area=(0.2, 0.9), aspect=1.5, flip=0.5),
    "zoomed": Augmentation(zoom=(0.9, 2.0)),
}


def changed(pictures: Tensor, masks: Tensor, options: Augmentation, epoch: int = 0) -> tuple[Tensor, Tensor]:
    return augment_scenes(pictures, masks, KEYS[: len(masks)], seed=3, epoch=epoch, options=options, size=(20, 28))


@pytest.mark.parametrize("name", MOVES)
def test_a_mask_that_shows_its_picture_still_does(name: str) -> None:
    """A ramp across and one along tell where each pixel comes from; the mask is the ramps, rounded to pixels."""
    height, width = 22, 30
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    # every second bit of x and y: neighbours differ, and a pixel off by one is seen
    masks = ((y % 8) * 8 + x % 8).to(torch.uint8).expand(24, -1, -1)
    pictures = torch.stack([x, y, torch.ones_like(x)]).double().expand(24, -1, -1, -1)
    out, moved = changed(pictures, masks, MOVES[name])
    assert moved.shape == (24, 20, 28)
    # inside, the ramps are bilinear at the same place that the mask is read from; at the outermost half pixel they are
    # cut off or, where black comes in, mixed with it
    inside = (out[:, 2] > 1 - 1e-9) & (out[:, 0] > 0) & (out[:, 0] < width - 1) & (out[:, 1] > 0)
    inside &= out[:, 1] < height - 1
    assert 0.3 < inside.double().mean() <= 1
    near = [(out[:, k] % 1 - 0.5).abs() > 1e-6 for k in (0, 1)]  # not halfway between two pixels
    sure = inside & near[0] & near[1]
    expected = (out[:, 1].round() % 8) * 8 + out[:, 0].round() % 8
    assert torch.equal(moved[sure].double(), expected[sure])
    assert sure.double().mean() > 0.25


@pytest.mark.parametrize("name", ["shift", "turned", "moved"])
def test_what_comes_from_outside_is_void(name: str) -> None:
    pictures, masks = torch.ones(24, 1, 20, 28), torch.full((24, 20, 28), 7, dtype=torch.uint8)
    out, moved = changed(pictures, masks, MOVES[name])
    assert set(moved.unique().tolist()) == {7, VOID}
    assert (moved[out[:, 0] == 0] == VOID).all()
    assert (moved[out[:, 0] == 1] == 7).all()


def test_void_stays_void_and_colours_change_no_mask() -> None:
    masks = torch.randint(0, 254, (24, 20, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    masks[:, 4] = VOID
    pictures = torch.rand(24, 3, 20, 28, generator=torch.Generator().manual_seed(1))
    loud = Augmentation(brightness=0.5, contrast=0.5, saturation=0.5, lighting=0.5)
    out, moved = changed(pictures, masks, loud)
    assert torch.equal(moved, masks)
    assert not torch.equal(out, pictures)


def test_pictures_change_as_without_masks() -> None:
    pictures, masks = torch.rand(24, 3, 22, 30), torch.zeros(24, 22, 30, dtype=torch.uint8)
    for options in MOVES.values():
        alone = augment(pictures, KEYS, seed=3, epoch=2, options=options, size=(20, 28))
        assert torch.equal(changed(pictures, masks, options, epoch=2)[0], alone)


def test_a_sample_alone_is_the_sample_in_a_batch() -> None:
    masks = torch.randint(0, 9, (24, 22, 30), dtype=torch.uint8)
    pictures = torch.rand(24, 1, 22, 30)
    _, together = changed(pictures, masks, MOVES["turned"])
    options = MOVES["turned"]
    _, alone = augment_scenes(pictures[5:6], masks[5:6], KEYS[5:6], seed=3, epoch=0, options=options, size=(20, 28))
    assert torch.equal(alone[0], together[5])


def test_nothing_to_change_and_what_does_not_fit() -> None:
    out, moved = changed(torch.zeros(0, 1, 22, 30), torch.zeros(0, 22, 30, dtype=torch.uint8), MOVES["turned"])
    assert (out.shape, moved.shape) == ((0, 1, 20, 28), (0, 20, 28))
    with pytest.raises(InputError, match=r"expected masks 2 x 22 x 30, as the pictures are, got \(2, 22, 29\)"):
        changed(torch.zeros(2, 1, 22, 30), torch.zeros(2, 22, 29, dtype=torch.uint8), MOVES["shift"])


def test_the_border_is_void() -> None:
    canvas = on_canvas(torch.zeros(1, 3, 4, dtype=torch.uint8), Preprocessing(1, (3, 4), border=2))
    assert canvas.shape == (1, 7, 8)
    assert (canvas == VOID).sum() == 7 * 8 - 12
    np.testing.assert_array_equal(canvas[0, 2:5, 2:6], 0)
