"""A split judged by all processes: each sample by one of them, none twice."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from striate.data import ImageSplit, Preparation, Progress
from striate.evaluation import predict_logits
from striate.training.processes._group import current


def own_rows(total: int, batch_size: int) -> NDArray[np.int64]:
    """Return which of `total` samples this process judges: whole batches, as one process would make them.

    So each process computes what one process would compute, on a CPU to the last bit.
    """
    first, last = current().part_of(-(-total // batch_size))
    return np.arange(min(first * batch_size, total), min(last * batch_size, total))


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
    own = split if current().size == 1 else split.subset(own_rows(len(split), batch_size))
    return current().in_order(predict_logits(model, own, preprocessing, batch_size=batch_size, progress=progress))
