"""Masks over their pictures, to be looked at."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from striate.evaluation._dense import dense_logits, mask_of

if TYPE_CHECKING:
    from torch import nn

    from striate.data import Masks, Preprocessing, SceneSplit

Picture = npt.NDArray[np.uint8]
_STRENGTH = 0.6  # of the classes' colours
_GAP = 6  # white pixels between pictures
_VIEW = 360  # the longer side of what a report shows


def overlay(picture: Picture, mask: npt.NDArray[np.uint8], masks: "Masks") -> Picture:
    """Return a picture (uint8 3 x H x W) under the colours of its mask (H x W); void pixels stay as they are."""
    colours = masks.painted(mask).transpose(2, 0, 1)
    mixed = np.rint((1 - _STRENGTH) * picture + _STRENGTH * colours).astype(np.uint8)
    return np.where(mask < len(masks.values), mixed, picture)


def side_by_side(*pictures: Picture) -> Picture:
    """Return pictures (uint8 3 x H x W, of one height) beside each other, white between them."""
    gap = np.full((3, pictures[0].shape[1], _GAP), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=2)


def scene_views(model: "nn.Module", split: "SceneSplit", preprocessing: "Preprocessing", index: int) -> Picture:
    """Return a scene, its mask over it and the model's prediction over it, side by side, 360 pixels wide at most."""
    from striate.data import Preprocessing, decode_image, fit_mask

    truth = split.truth(index)
    height, width = truth.shape
    scores = dense_logits(model, split.load([index]), preprocessing)[0]
    found = mask_of(scores, (height, width), preprocessing)
    scale = min(1.0, _VIEW / max(height, width))
    small = Preprocessing(3, (max(1, round(height * scale)), max(1, round(width * scale))))
    picture = decode_image(split.root / split.ids[index], small)
    views = (overlay(picture, fit_mask(mask, small), split.meaning) for mask in (truth, found))
    return side_by_side(picture, *views)
