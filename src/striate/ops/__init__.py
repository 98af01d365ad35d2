"""The convolutional operators on tensors: one meaning each, several ways to compute it.

The chapter, sections 5.x and equations (5.x) are those of Qiu Xipeng, Neural Networks and Deep Learning, chapter 5.
"""

from striate.ops._avg_pool import avg_pool
from striate.ops._conv import Links, conv, link_rows
from striate.ops._conv_transpose import conv_transpose
from striate.ops._deform_conv import deform_conv
from striate.ops._dispatch import explain_dispatch, prefer, use_impl
from striate.ops._highway import highway
from striate.ops._linear import linear, onednn_linear
from striate.ops._local_response_norm import local_response_norm
from striate.ops._max_pool import max_pool
from striate.ops._max_unpool import max_unpool
from striate.ops._packed_conv import PackedConv
from striate.ops._packed_linear import PackedLinear
from striate.ops._rbf import rbf
from striate.ops._scaled_tanh import scaled_tanh
from striate.ops._subsample import subsample

__all__ = [
    "Links",
    "PackedConv",
    "PackedLinear",
    "avg_pool",
    "conv",
    "conv_transpose",
    "deform_conv",
    "explain_dispatch",
    "highway",
    "linear",
    "link_rows",
    "local_response_norm",
    "max_pool",
    "max_unpool",
    "onednn_linear",
    "prefer",
    "rbf",
    "scaled_tanh",
    "subsample",
    "use_impl",
]
