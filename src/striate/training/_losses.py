"""What training minimises."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import cross_entropy

from striate.data import VOID
from striate.errors import InputError
from striate.training._recipe import LossOptions


def rbf_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared distance to the right class's centre, E of equation (8) in LeCun et al. 1998.

    `logits` N x K are minus the squared distances, `labels` N. The units that belong to wrong classes play no part.
    """
    return -logits.gather(1, labels[:, None]).mean()


def rbf_map(logits: Tensor, labels: Tensor, *, j: float) -> Tensor:
    """Maximum a posteriori criterion, equation (9) in LeCun et al. 1998: y_right + log(e^-j + sum_i e^-y_i).

    `logits` N x K are minus the squared distances y, `labels` N. The constant `j` bounds how far wrong classes are
    still pushed away: it acts as a class of rubbish at distance j.
    """
    rubbish = logits.new_full((len(logits), 1), -j)
    return (torch.cat([logits, rubbish], 1).logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).mean()


def make_pixel_loss(options: LossOptions, class_weights: ArrayLike | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of logits (N x K x H x W) and masks (uint8 N x H x W): a mean over the pixels that are not VOID.

    `class_weights` as in `make_loss`. A batch without a known pixel has loss 0. Raises InputError for a loss that is
    not for pixels.
    """
    if options.name != "cross_entropy":
        raise InputError(f"loss.name={options.name}: masks are learned with loss.name=cross_entropy")

    weights = None if class_weights is None else torch.as_tensor(np.asarray(class_weights), dtype=torch.float32)

    def mean(logits: Tensor, masks: Tensor) -> Tensor:
        summed = cross_entropy(
            logits,
            masks.long(),
            None if weights is None else weights.to(logits),
            ignore_index=VOID,
            reduction="sum",
            label_smoothing=options.label_smoothing,
        )
        return summed / (masks != VOID).sum().clamp(min=1)

    return mean


def make_loss(options: LossOptions, class_weights: ArrayLike | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a recipe as a function of logits (N x K) and targets, a mean over the batch.

    Targets are labels (N) or, for cross-entropy, the share of each class (N x K). With `class_weights` each target's
    part is multiplied by its class's weight and the sum still divided by N: a mean over many batches is the weighted
    mean over all.
    """
    if options.name == "rbf_mse":
        return rbf_mse
    if options.name == "rbf_map":
        return lambda logits, labels: rbf_map(logits, labels, j=options.j)
    smoothing = options.label_smoothing
    if class_weights is None:
        return lambda logits, targets: cross_entropy(logits, targets, label_smoothing=smoothing)
    weights = torch.as_tensor(np.asarray(class_weights), dtype=torch.float32)

    def weighted(logits: Tensor, targets: Tensor) -> Tensor:
        total = cross_entropy(logits, targets, weights.to(logits), label_smoothing=smoothing, reduction="sum")
        return total / len(targets)

    return weighted
