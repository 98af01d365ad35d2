"""The operators' definitions in NumPy: slow, obvious and independent; they judge every implementation.

The chapter, sections 5.x and equations (5.x) are those of Qiu Xipeng, Neural Networks and Deep Learning, chapter 5.
"""

from striate.reference import equations
from striate.reference._connectivity import Array, connectivity
from striate.reference._conv import conv, conv_grad_bias, conv_grad_input, conv_grad_weight
from striate.reference._conv_transpose import (
    conv_transpose,
    conv_transpose_grad_bias,
    conv_transpose_grad_input,
    conv_transpose_grad_weight,
)
from striate.reference._deform_conv import (
    deform_conv,
    deform_conv_grad_input,
    deform_conv_grad_mask,
    deform_conv_grad_offset,
    deform_conv_grad_weight,
)
from striate.reference._highway import highway, highway_grad_gate, highway_grad_input, highway_grad_transform
from striate.reference._local_response_norm import local_response_norm, local_response_norm_grad_input
from striate.reference._pool import (
    avg_pool,
    avg_pool_grad_input,
    max_pool,
    max_pool_grad_input,
    subsample,
    subsample_grad_input,
    subsample_grad_weight,
)
from striate.reference._rbf import rbf, rbf_grad_centres, rbf_grad_input
from striate.reference._scaled_tanh import scaled_tanh, scaled_tanh_grad_input
from striate.reference._unpool import max_unpool, max_unpool_grad_input

__all__ = [
    "Array",
    "avg_pool",
    "avg_pool_grad_input",
    "connectivity",
    "conv",
    "conv_grad_bias",
    "conv_grad_input",
    "conv_grad_weight",
    "conv_transpose",
    "conv_transpose_grad_bias",
    "conv_transpose_grad_input",
    "conv_transpose_grad_weight",
    "deform_conv",
    "deform_conv_grad_input",
    "deform_conv_grad_mask",
    "deform_conv_grad_offset",
    "deform_conv_grad_weight",
    "equations",
    "highway",
    "highway_grad_gate",
    "highway_grad_input",
    "highway_grad_transform",
    "local_response_norm",
    "local_response_norm_grad_input",
    "max_pool",
    "max_pool_grad_input",
    "max_unpool",
    "max_unpool_grad_input",
    "rbf",
    "rbf_grad_centres",
    "rbf_grad_input",
    "scaled_tanh",
    "scaled_tanh_grad_input",
    "subsample",
    "subsample_grad_input",
    "subsample_grad_weight",
]
