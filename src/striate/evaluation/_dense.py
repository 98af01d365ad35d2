"""From a network that labels pixels to masks at each picture's own size."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.evaluation._predict import outputs_of

if TYPE_CHECKING:
    import torch

    from striate.data import Preprocessing

_BLOCK = 1 << 22  # scores that are enlarged at a time: a large picture with many classes takes no more memory


def dense_logits(
    model: "torch.nn.Module", images: npt.NDArray[np.uint8], preprocessing: "Preprocessing"
) -> "torch.Tensor":
    """Return the model's logits for every pixel of decoded pictures (uint8 N x C x h x w): float32 N x K x h x w.

    The tensor is where the model is. What `logits_of` says of modes, types and runtime holds. Raises InputError for
    pictures that are not as `preprocessing` says, and for a model that gives no logits for each pixel of its input.
    """
    import torch

    if preprocessing.crop_to is not None:
        raise InputError("masks: pictures are judged whole, their preprocessing must not cut a window out (crop_to)")
    logits = outputs_of(model, images, preprocessing)
    expected = (len(images), *preprocessing.input_size[1:])
    if not isinstance(logits, torch.Tensor) or logits.ndim != 4 or (len(logits), *logits.shape[2:]) != expected:
        what = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        size = " x ".join(map(str, expected[1:]))
        raise InputError(f"the model must return logits {len(images)} x K x {size}, one row per pixel, got {what}")
    border, (height, width) = preprocessing.border, preprocessing.size
    return logits.float()[:, :, border : border + height, border : border + width]


def mask_of(scores: "torch.Tensor", own: tuple[int, int], preprocessing: "Preprocessing") -> npt.NDArray[np.uint8]:
    """Return the classes of a picture's pixels at its `own` (height, width): uint8 H x W.

    `scores` (K x h x w) are of the picture as `preprocessing` fits it: what lies around it is cut off, and the rest is
    interpolated bilinearly to the own size before the largest is taken.
    """
    import torch

    from striate.data import inner_box

    top, left, height, width = inner_box(own, preprocessing)
    inner = scores[:, top : top + height, left : left + width]
    if (height, width) == own:
        return _numpy(inner.argmax(0))
    (above, below, down), (before, after, right) = (
        _neighbours(n, size, inner) for n, size in zip(own, (height, width), strict=True)
    )
    rows = max(1, _BLOCK // (len(scores) * own[1]))
    mask = np.empty(own, np.uint8)
    for start in range(0, own[0], rows):
        part = slice(start, start + rows)
        tall = torch.lerp(inner[:, above[part]], inner[:, below[part]], down[part, None])
        full = torch.lerp(tall[:, :, before], tall[:, :, after], right)
        mask[part] = _numpy(full.argmax(0))
    return mask


def _neighbours(n: int, size: int, like: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
    """Return for each of n pixels its two neighbours among `size` and how far it is from the first to the second.

    Pixel centres lie on pixel centres of the same picture: position (k + 1/2) size / n - 1/2, kept within it.
    """
    import torch

    place = ((torch.arange(n, dtype=torch.float64, device=like.device) + 0.5) * (size / n) - 0.5).clamp(0, size - 1)
    first = place.floor().long()
    return first, (first + 1).clamp(max=size - 1), (place - first).to(like.dtype)


def _numpy(classes: "torch.Tensor") -> npt.NDArray[np.uint8]:
    values: npt.NDArray[np.uint8] = classes.byte().cpu().numpy()
    return values
