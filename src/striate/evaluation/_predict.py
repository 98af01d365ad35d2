"""From a model and pictures to logits."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.errors import InputError

if TYPE_CHECKING:
    import torch

    from striate.data import ImageSplit, Preparation


def predict_logits(
    model: "torch.nn.Module",
    split: "ImageSplit",
    preprocessing: "Preparation",
    *,
    batch_size: int = 256,
    progress: Callable[[int, int, str], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the model's logits for every picture of a split, in the split's order: float32 N x K.

    `progress(done, total, what)` is called after each batch. The batch size changes the result by rounding only; see
    `logits_of` for the rest.
    """
    from striate.data import batches

    total, done = len(split), 0
    parts: list[npt.NDArray[np.float32]] = []
    for indices, images, _ in batches(split, np.arange(total), batch_size):  # loads files ahead of the network
        parts.append(logits_of(model, images.numpy(), preprocessing))
        done += len(indices)
        if progress is not None:
            progress(done, total, "evaluating")
    if not parts:  # a blank picture tells K
        parts.append(logits_of(model, preprocessing.blank(1), preprocessing)[:0])
    return np.concatenate(parts)


def logits_of(
    model: "torch.nn.Module", images: npt.NDArray[Any], preprocessing: "Preparation"
) -> npt.NDArray[np.float32]:
    """Return the model's logits (float32 N x K) for samples as a split loads them, all in one batch.

    Pictures are uint8 N x C x h x w, series float32 N x C x T.

    The model runs where its parameters are and in their floating-point type, in evaluation mode; each of its modules
    has its own mode back afterwards. Within a runtime's `applied` block its precision and memory layout hold. Raises
    InputError for pictures that are not as `preprocessing` says.
    """
    import torch

    logits = outputs_of(model, images, preprocessing)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
        what = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(f"the model must return logits {len(images)} x K for {len(images)} pictures, got {what}")
    result: npt.NDArray[np.float32] = logits.float().cpu().numpy()
    return result


def outputs_of(model: "torch.nn.Module", images: npt.NDArray[Any], preprocessing: "Preparation") -> Any:
    """Return what a model gives out for decoded pictures, as `logits_of` runs it, whatever it is."""
    import torch

    from striate.runtime import Runtime, current

    if not preprocessing.fits(images):
        expected = " x ".join(map(str, ("N", *preprocessing.sample_size)))
        what = "pictures" if len(preprocessing.sample_size) == 3 else "series"
        raise InputError(
            f"{what} must be {np.dtype(preprocessing.dtype)} {expected} as the preprocessing says, "
            f"got {images.dtype} {images.shape}"
        )
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    runtime = current() or Runtime()
    with torch.inference_mode(), evaluating(model), runtime.autocast(like.device.type):
        inputs = preprocessing(
            torch.from_numpy(images.copy()).to(like.device)
        )  # a copy: views may have negative strides
        network = runtime.network(model, tuple(inputs.shape[1:]))
        return network(runtime.laid_out(inputs.to(like.dtype)))


@contextlib.contextmanager
def evaluating(model: "torch.nn.Module") -> Iterator[None]:
    """Put a model into evaluation mode for a while; each of its modules has its own mode back afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
