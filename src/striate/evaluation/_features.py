"""What a model makes of pictures before it decides."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.evaluation._predict import evaluating

if TYPE_CHECKING:
    import torch

    from striate.data import ImageSplit, Preprocessing


def penultimate_features(
    model: "torch.nn.Module",
    split: "ImageSplit",
    preprocessing: "Preprocessing",
    *,
    batch_size: int = 256,
    progress: Callable[[int, int, str], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Return what the layer before the logits gives for every picture of a split, in its order: float32 N x D.

    Maps are averaged over their positions. The model runs where its parameters are, in evaluation mode. Raises
    InputError for a model without `features`, the named intermediates that the networks of `striate.models` have.
    """
    import torch

    from striate.data import batches
    from striate.runtime import Runtime, current

    if not callable(getattr(model, "features", None)):
        raise InputError(f"the model must have features(x), the networks of striate.models do; {type(model).__name__}")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    runtime = current() or Runtime()
    parts: list[npt.NDArray[np.float32]] = []
    done = 0
    for indices, images, _ in batches(split, np.arange(len(split)), batch_size):
        with torch.inference_mode(), evaluating(model), runtime.autocast(like.device.type):
            inputs = runtime.laid_out(preprocessing(images.to(like.device)).to(like.dtype))
            last = _before_logits(model.features(inputs))  # type: ignore[operator]
        maps = last.float().cpu().reshape(*last.shape[:2], -1)
        parts.append(maps.mean(dim=2).numpy())
        done += len(indices)
        if progress is not None:
            progress(done, len(split), "looking at pictures")
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def _before_logits(named: "dict[str, torch.Tensor]") -> "torch.Tensor":
    """Return the last of the intermediates that is not the logits themselves, under whatever name or sign."""
    import torch

    logits = named["logits"].flatten(1)
    for value in reversed(named.values()):
        flat = value.flatten(1)
        if flat.shape != logits.shape or not (torch.equal(flat, logits) or torch.equal(flat, -logits)):
            return value
    return logits
