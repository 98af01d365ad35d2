"""The chapter's equations, one function each, as close to the printed formula as code can be.

This is the textbook in code, independent of the contraction that the rest of `striate.reference` is made of; the page
docs/equations.md lists number, function and test. Conventions:

- W (x) X is written f(W, X), the kernel first. As in the chapter it is the cross-correlation (5.7); the functions named
  `convolve` are the convolution with a turned kernel, (5.4) and (5.6).
- One input, no batch. A sequence has n numbers, a map is M x N, a group of maps D x M x N and kernels P x D x m x n, so
  that X[d] and W[p, d] are the X^d and W^{p,d} of the chapter (which writes M x N x D and m x n x D x P).
- Indices start at 0: the x_{i+u-1} of the print is x[i + u].
"""

from striate.reference.equations._convolution import (
    convolution_size,
    convolve_1d,
    convolve_2d,
    correlate_1d,
    correlate_2d,
    mean_filter,
    moving_average,
    pad,
    rot180,
    wide_convolve_1d,
    wide_convolve_2d,
    wide_correlate_1d,
    wide_correlate_2d,
)
from striate.reference.equations._derivatives import (
    input_derivative,
    input_derivative_as_sum,
    input_derivative_by_rotated_output,
    kernel_derivative,
    kernel_derivative_as_sum,
)
from striate.reference.equations._layers import (
    conv_layer,
    conv_layer_1d,
    conv_parameters,
    dense_kernels,
    dense_parameters,
    identity,
    linked_conv_layer,
    linked_parameters,
    max_pooling,
    mean_pooling,
    regions,
    residual,
    residual_unit,
    subsampling_layer,
)
from striate.reference.equations._learning import (
    bias_gradient,
    error_below_conv,
    error_below_pooling,
    kernel_gradient,
    up_max,
    up_mean,
)
from striate.reference.equations._matrix import (
    convolution_matrix,
    dilated_1d,
    dilated_2d,
    dilated_size,
    fractionally_strided_1d,
    fractionally_strided_2d,
    fractionally_strided_size,
    insert_zeros,
    transposed_1d,
    transposed_2d,
)

__all__ = [
    "bias_gradient",
    "conv_layer",
    "conv_layer_1d",
    "conv_parameters",
    "convolution_matrix",
    "convolution_size",
    "convolve_1d",
    "convolve_2d",
    "correlate_1d",
    "correlate_2d",
    "dense_kernels",
    "dense_parameters",
    "dilated_1d",
    "dilated_2d",
    "dilated_size",
    "error_below_conv",
    "error_below_pooling",
    "fractionally_strided_1d",
    "fractionally_strided_2d",
    "fractionally_strided_size",
    "identity",
    "input_derivative",
    "input_derivative_as_sum",
    "input_derivative_by_rotated_output",
    "insert_zeros",
    "kernel_derivative",
    "kernel_derivative_as_sum",
    "kernel_gradient",
    "linked_conv_layer",
    "linked_parameters",
    "max_pooling",
    "mean_filter",
    "mean_pooling",
    "moving_average",
    "pad",
    "regions",
    "residual",
    "residual_unit",
    "rot180",
    "subsampling_layer",
    "transposed_1d",
    "transposed_2d",
    "up_max",
    "up_mean",
    "wide_convolve_1d",
    "wide_convolve_2d",
    "wide_correlate_1d",
    "wide_correlate_2d",
]
