"""Pictures and their masks changed together: what a pixel shows stays what its mask says."""

from typing import TYPE_CHECKING

from striate.data import _geometry as geometry
from striate.data import _randaugment as randaugment
from striate.data._augmentation import Augmentation, augment
from striate.data._erasing import erased
from striate.data._masks import VOID
from striate.data._preprocessing import Preprocessing
from striate.data._randomness import Draw, Keys
from striate.errors import InputError

if TYPE_CHECKING:
    import torch


def augment_scenes(
    canvas: "torch.Tensor",
    masks: "torch.Tensor",
    keys: Keys,
    *,
    seed: int,
    epoch: int,
    options: Augmentation,
    size: tuple[int, int] | None = None,
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return pictures (N x C x H x W) as `augment` changes them, and their masks (uint8 N x H x W) moved alike.

    A pixel of a mask is the nearest one of the original, VOID outside of it; what is erased shows nothing and is VOID;
    colours are no matter of masks.
    """
    import torch

    if masks.shape != (len(canvas), *canvas.shape[2:]):
        raise InputError(
            f"augment: expected masks {len(canvas)} x {canvas.shape[2]} x {canvas.shape[3]}, as the pictures are, got "
            f"{tuple(masks.shape)}"
        )
    height, width = size or (canvas.shape[2], canvas.shape[3])
    pictures = augment(canvas, keys, seed=seed, epoch=epoch, options=options, size=size)
    if not len(canvas):
        return pictures, masks[:, :height, :width]
    shifted = (masks + 1).float()[:, None]  # VOID, 255, becomes 0: what geometry puts outside of a picture
    draw = Draw(seed, epoch, keys)
    moved = geometry.move(shifted, draw, options, (height, width), nearest=True)
    for turn in randaugment.turns(draw, options):
        randaugment.move_(moved, turn, options.magnitude / randaugment.MOST, nearest=True)
    if options.erase:
        inside = erased(draw, options, size=(height, width))
        moved = moved.masked_fill(torch.from_numpy(inside).to(moved.device)[:, None], 0)
    return pictures, moved[:, 0].to(masks.dtype) - 1


def on_canvas(masks: "torch.Tensor", preprocessing: Preprocessing) -> "torch.Tensor":
    """Put the canvas's border around masks (N x h x w), as VOID."""
    from torch.nn.functional import pad

    return pad(masks, (preprocessing.border,) * 4, value=VOID) if preprocessing.border else masks
