"""What a layer costs, for one input: neurons, parameters, connections and multiplications."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from striate.errors import InputError
from striate.geometry._sizes import output_size
from striate.geometry._window import Window


@dataclass(frozen=True)
class LayerCount:
    """Sizes of a layer for one input, counted as section 5.4.1 of the chapter does.

    neurons: outputs. parameters: trainable numbers. connections: edges from inputs to neurons, the bias being one
    edge per neuron; edges to zeros of the padding count. macs: multiply-accumulate steps. Counts add up with +.
    """

    neurons: int
    parameters: int
    connections: int
    macs: int

    def __add__(self, other: "LayerCount") -> "LayerCount":
        return LayerCount(
            self.neurons + other.neurons,
            self.parameters + other.parameters,
            self.connections + other.connections,
            self.macs + other.macs,
        )


def count_conv(
    size: Sequence[int],
    window: Window,
    in_channels: int,
    out_channels: int,
    *,
    groups: int = 1,
    links: Iterable[Iterable[int]] | None = None,
    bias: bool = True,
) -> LayerCount:
    """Count a convolution over an input of `size`, dense, in groups, or after a link table (5.37).

    links: a P x D table of 0 and 1; its K ones are the kernels. Zeros that `upsample` puts between inputs are not
    multiplied and no connection leads to them. Raises InputError when groups does not divide both channel counts.
    """
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise InputError(
            f"groups={groups} must divide the input channels ({in_channels}) and the output channels ({out_channels})"
        )
    kernels = in_channels * out_channels // groups if links is None else sum(int(link) for row in links for link in row)
    neurons = out_channels * prod(output_size(size, window))
    biases, bias_edges = (out_channels, neurons) if bias else (0, 0)
    macs = kernels * _taps(size, window)
    return LayerCount(neurons, kernels * prod(window.kernel) + biases, macs + bias_edges, macs)


def count_pool(size: Sequence[int], window: Window, channels: int, *, ceil: bool = False) -> LayerCount:
    """Count max or mean pooling over an input of `size`: no parameters and no multiplications."""
    neurons = channels * prod(output_size(size, window, ceil=ceil))
    return LayerCount(neurons, 0, neurons * prod(window.kernel), 0)


def count_subsample(size: Sequence[int], window: Window, channels: int) -> LayerCount:
    """Count LeNet's subsampling (5.24): per map one weight and one bias, per neuron one multiplication."""
    neurons = channels * prod(output_size(size, window))
    return LayerCount(neurons, 2 * channels, neurons * (prod(window.kernel) + 1), neurons)


def count_dense(in_features: int, out_features: int, *, bias: bool = True) -> LayerCount:
    """Count a fully connected layer."""
    macs = in_features * out_features
    weights = macs + (out_features if bias else 0)
    return LayerCount(out_features, weights, weights, macs)


def count_rbf(in_features: int, classes: int, *, trainable: bool = False) -> LayerCount:
    """Count Euclidean radial basis functions: one square and sum per centre and feature; fixed centres by default."""
    macs = in_features * classes
    return LayerCount(classes, macs if trainable else 0, macs, macs)


def _taps(size: Sequence[int], window: Window) -> int:
    """Pairs (output position, kernel position) that do not meet a zero put in by upsampling, over all axes."""
    taps = 1
    for axis, outputs in enumerate(output_size(size, window)):
        s, d, u, low = window.stride[axis], window.dilation[axis], window.upsample[axis], window.padding[axis][0]
        taps *= sum((o * s + k * d - low) % u == 0 for o in range(outputs) for k in range(window.kernel[axis]))
    return taps
