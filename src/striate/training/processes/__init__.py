"""Several processes that train one network together; one process is a world of one."""

from striate.training.processes._batch_norm import share_batch_norm
from striate.training.processes._gradients import GradientSum
from striate.training.processes._group import Processes, current, joined
from striate.training.processes._judging import logits_together, own_rows
from striate.training.processes._shares import Share, share_of

__all__ = [
    "GradientSum",
    "Processes",
    "Share",
    "current",
    "joined",
    "logits_together",
    "own_rows",
    "share_batch_norm",
    "share_of",
]
