"""From a model and pictures to logits."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from striate.errors import InputError

if TYPE_CHECKING:
    import torch

    from striate.data import ImageSplit
    from striate.data.preprocessing import Preprocessing


def predict_logits(
    model: "torch.nn.Module",
    split: "ImageSplit",
    preprocessing: "Preprocessing",
    *,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the model's logits for every picture of a split, in the split's order: float32 N x K.

    The model runs where its parameters are, in evaluation mode; each of its modules has its own mode back afterwards.
    `progress(done, total)` is called after each batch. The batch size changes the result by rounding only.
    """
    if batch_size < 1:
        raise InputError(f"predict_logits: batch_size must be 1 or more, got {batch_size}")
    total = len(split)
    parts: list[npt.NDArray[np.float32]] = []
    with evaluating(model):
        for start in range(0, total, batch_size):
            indices = np.arange(start, min(start + batch_size, total), dtype=np.int64)
            parts.append(forward(model, split.load(indices), preprocessing))
            if progress is not None:
                progress(int(indices[-1]) + 1, total)
        if not parts:  # a picture of zeros tells K
            blank = np.zeros((1, preprocessing.channels, *preprocessing.size), dtype=np.uint8)
            parts.append(forward(model, blank, preprocessing)[:0])
    return np.concatenate(parts)


def forward(
    model: "torch.nn.Module", images: npt.NDArray[np.uint8], preprocessing: "Preprocessing"
) -> npt.NDArray[np.float32]:
    """Return the logits (float32 N x K) of one batch of decoded pictures (uint8 N x C x h x w); see `evaluating`."""
    import torch

    place = next(model.parameters(), torch.empty(0))
    expected = (preprocessing.channels, *preprocessing.size)
    if images.dtype != np.uint8 or images.shape[1:] != expected:
        raise InputError(
            f"pictures must be uint8 N x {' x '.join(map(str, expected))} as the preprocessing says, "
            f"got {images.dtype} {images.shape}"
        )
    with torch.inference_mode():
        inputs = preprocessing(torch.from_numpy(images.copy()).to(place.device))
        logits = model(inputs.to(place.dtype))
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
            what = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise InputError(f"the model must return logits {len(images)} x K for {len(images)} pictures, got {what}")
        result: npt.NDArray[np.float32] = logits.float().cpu().numpy()
    return result


@contextlib.contextmanager
def evaluating(model: "torch.nn.Module") -> Iterator[None]:
    """Put a model into evaluation mode and give each of its modules its own mode back afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
