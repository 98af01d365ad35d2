"""How much a class counts in the loss, by how often it occurs in the training split."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from striate.training._recipe import ClassWeights


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
