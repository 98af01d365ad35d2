"""A split judged by all processes: each sample by one of them, none twice."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from striate.data import ImageSplit, Preparation, Progress
from striate.evaluation import predict_logits
from striate.training.processes._group import current


def own_part(split: ImageSplit, batch_size: int) -> ImageSplit:
    """Return the samples that this process judges: whole batches, as one process would make them.

    So each process computes what one process would compute, on a CPU to the last bit.
    """
    processes = current()
    if processes.size == 1:
        return split
    first, last = processes.part_of(-(-len(split) // batch_size))
    return split.subset(np.arange(min(first * batch_size, len(split)), min(last * batch_size, len(split))))


def logits_together(
    model: nn.Module,
    split: ImageSplit,
    preprocessing: Preparation,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return the model's logits for every picture of a split, in the split's order, for all processes.

    It is `predict_logits`, each process doing its own part.
    """
    own = own_part(split, batch_size)
    return current().in_order(predict_logits(model, own, preprocessing, batch_size=batch_size, progress=progress))
