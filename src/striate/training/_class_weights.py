"""How much a class counts in the loss, by how often it occurs in the training split."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from striate.training._recipe import ClassWeights

_SHOWN = 12  # classes in a sentence


def class_weights(kind: ClassWeights, counts: ArrayLike) -> NDArray[np.float64] | None:
    """Return a weight per class for `counts` of pictures or pixels in the training split; None for "none".

    Proportional to 1 / count ("balanced") or to its root ("root"), and 1 in the mean over what was counted, so that the
    loss stays of the same size. A class that does not occur weighs 0.
    """
    if kind == "none":
        return None
    count = np.asarray(counts, np.float64)
    there = count > 0
    weights = np.zeros_like(count)
    weights[there] = count[there] ** (-1.0 if kind == "balanced" else -0.5)
    weights *= count.sum() / (weights * count).sum()
    return weights


def told_weights(weights: Mapping[str, float]) -> str:
    """Write weights of classes for a sentence, the heaviest first; of many classes, the first and the last."""
    ordered = sorted(weights, key=lambda name: -weights[name])
    words = [f"{name} {weights[name]:.3g}" for name in ordered]
    if len(words) > _SHOWN:
        half = _SHOWN // 2
        words[half:-half] = [f"... {len(words) - 2 * half} more, in run.json ..."]
    return ", ".join(words)
