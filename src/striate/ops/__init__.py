"""The convolutional operators on tensors: one meaning each, several ways to compute it.

The chapter, sections 5.x and equations (5.x) are those of Qiu Xipeng, Neural Networks and Deep Learning, chapter 5.
"""

from striate.ops._avg_pool import avg_pool
from striate.ops._conv import Links, conv, link_rows
from striate.ops._dispatch import explain_dispatch, use_impl
from striate.ops._max_pool import max_pool
from striate.ops._rbf import rbf
from striate.ops._subsample import subsample

__all__ = [
    "Links",
    "avg_pool",
    "conv",
    "explain_dispatch",
    "link_rows",
    "max_pool",
    "rbf",
    "subsample",
    "use_impl",
]
