"""What a model makes of pictures before it decides."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.errors import InputError
from striate.evaluation._predict import logits_of

if TYPE_CHECKING:
    import torch

    from striate.data import ImageSplit, Preparation


def penultimate_features(
    model: "torch.nn.Module",
    split: "ImageSplit",
    preprocessing: "Preparation",
    *,
    batch_size: int = 256,
    progress: Callable[[int, int, str], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Return what enters the model's last layer with weights, learnt or fixed, for every picture: float32 N x D.

    Maps are averaged over their positions. Computed as `logits_of` computes. Raises InputError for a model without
    such a layer.
    """
    from striate.data import batches

    parts: list[npt.NDArray[np.float32]] = []
    done = 0
    with _last_input(model) as seen:
        for indices, images, _ in batches(split, np.arange(len(split)), batch_size):
            seen.clear()
            logits_of(model, images.numpy(), preprocessing)
            if not seen:
                raise InputError(f"{type(model).__name__} has no layer with weights: there are no features before it")
            maps = seen[-1].float().cpu()
            parts.append(maps.reshape(*maps.shape[:2], -1).mean(dim=2).numpy())
            done += len(indices)
            if progress is not None:
                progress(done, len(split), "looking at pictures")
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


@contextlib.contextmanager
def _last_input(model: "torch.nn.Module") -> "Iterator[list[torch.Tensor]]":
    """Yield a list that holds, after a forward pass, the input of the layer with weights that ran last."""
    seen: list[torch.Tensor] = []

    def note(module: "torch.nn.Module", inputs: tuple[Any, ...]) -> None:
        seen[:] = inputs[:1]

    hooks = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if any(w.ndim > 1 for w in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
