"""What one operation costs: neurons, connections, multiply-accumulates (MACs) and floating-point operations (FLOPs).

The conventions, kind by kind, which docs/inspect.md states for the reader:

- convolution, dense layer, matrix product: a MAC per product that is summed; 2 FLOPs per MAC and one per bias added.
  Kernel positions that meet a zero of the padding count, those that meet a zero put in by `upsample` do not; a
  transposed convolution has the MACs of the convolution whose transpose it is. A connection per MAC and per bias.
- pooling: a connection and a FLOP (comparison or addition) per position of each window; no MAC.
- subsampling (5.24): a connection per position of each window and per bias (LeCun et al. 1998, II.B), a MAC per neuron.
- radial basis functions: a connection and a MAC per centre and feature; 3 FLOPs (difference, square, sum).
- deformable convolution: MACs as the convolution; 7 FLOPs more per value read between pixels, 8 with a mask.
- local response normalisation over n channels: n + 4 FLOPs per element.
- batch normalisation in evaluation: 2 per element (the statistics are folded into a factor and a summand); layer, group
  and instance normalisation: 7 per element with factor and summand, 5 without.
- softmax: 5 per element (maximum, difference, exponential, sum, quotient).
- interpolation: 2 * 2^axes - 1 per output, bicubic 2 * 4^axes - 1, nearest none.
- any function of single elements: 1 per output; sums, means and other reductions: 1 per input.
- moving data (views, padding, concatenation, embedding): nothing.

Neurons are the outputs of those layers that have connections. Everything is for the whole input of the trace.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from striate.geometry import count_conv, count_pool, count_rbf, count_subsample
from striate.insight._trace import Operation, Ref, Value


@dataclass(frozen=True)
class Cost:
    """The counts of an operation, those of its whole input; not `counted`: they are a lower bound."""

    neurons: int = 0
    connections: int = 0
    macs: int = 0
    flops: int = 0
    counted: bool = True

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.neurons + other.neurons,
            self.connections + other.connections,
            self.macs + other.macs,
            self.flops + other.flops,
            self.counted and other.counted,
        )


class Operands:
    """The shapes of what an operation reads and writes, by the names of its arguments."""

    def __init__(self, operation: Operation, values: list[Value]) -> None:
        self.operation, self.values, self.arguments = operation, values, operation.arguments

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor among the arguments."""
        shape: tuple[int, ...] = self.values[self.arguments[name].value].shape
        return shape

    def has(self, name: str) -> bool:
        """Whether an optional tensor is there."""
        return isinstance(self.arguments.get(name), Ref)

    def is_weight(self, name: str) -> bool:
        """Whether a tensor does not depend on the input."""
        return not self.values[self.arguments[name].value].from_input

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return self.values[self.operation.outputs[0]].shape

    def operand(self, place: int) -> tuple[int, ...]:
        """The shape of an operand of one of Striate's operators."""
        shape: tuple[int, ...] = self.values[self.arguments["operands"][place].value].shape
        return shape

    def has_operand(self, place: int) -> bool:
        """Whether an optional operand of one of Striate's operators is there."""
        return isinstance(self.arguments["operands"][place], Ref)


def cost(operation: Operation, values: list[Value]) -> Cost:
    """Return what an operation costs; work on parameters alone, such as turning a kernel around, costs nothing."""
    if not operation.outputs or not values[operation.outputs[0]].from_input:
        return Cost()
    operands = Operands(operation, values)
    name = operation.name.removesuffix("_")
    if name in COSTS:
        return COSTS[name](operands)
    if operation.pointwise:
        return Cost(flops=prod(operands.output))
    return Cost(counted=False)


def _conv(x: Operands) -> Cost:
    image, kernel = x.shape("input"), x.shape("weight")
    if x.arguments["transposed"]:
        macs, neurons = prod(image) * prod(kernel[1:]), prod(x.output)
    else:
        macs, neurons = prod(x.output) * prod(kernel[1:]), prod(x.output)
    return _weighted(neurons, macs, bias=x.has("bias"))


def _weighted(neurons: int, macs: int, *, bias: bool) -> Cost:
    return Cost(neurons, macs + bias * neurons, macs, 2 * macs + bias * neurons)


def _striate_conv(x: Operands) -> Cost:
    (batch, channels, *size), form, bias = x.operand(0), x.operation.form, x.has_operand(2)
    words = {"groups": form.groups, "links": form.links, "bias": bias}
    count = count_conv(size, form.window, channels, x.output[1], **words)
    return _weighted(batch * count.neurons, batch * count.macs, bias=bias)


def _striate_conv_transpose(x: Operands) -> Cost:
    return _weighted(prod(x.output), prod(x.operand(0)) * prod(x.operand(1)[1:]), bias=x.has_operand(2))


def _striate_deform_conv(x: Operands) -> Cost:
    image, kernel = x.operand(0), x.operand(2)
    reads = image[0] * image[1] * prod(x.output[2:]) * prod(kernel[2:])
    convolution = _weighted(prod(x.output), prod(x.output) * prod(kernel[1:]), bias=x.has_operand(3))
    return convolution + Cost(flops=(7 + x.has_operand(4)) * reads)


def _striate_pool(x: Operands) -> Cost:
    (batch, channels, *size), form = x.operand(0), x.operation.form
    count = count_pool(size, form.window, channels, ceil=form.ceil)
    return Cost(batch * count.neurons, batch * count.connections, 0, batch * count.connections)


def _striate_subsample(x: Operands) -> Cost:
    batch, channels, *size = x.operand(0)
    count = count_subsample(size, x.operation.form.window, channels)
    edges = batch * count.connections
    return Cost(batch * count.neurons, edges, batch * count.macs, edges)  # m - 1 sums, a product, a bias


def _striate_rbf(x: Operands) -> Cost:
    (batch, features), (classes, _) = x.operand(0), x.operand(1)
    macs = count_rbf(features, classes).macs
    return Cost(batch * classes, batch * macs, batch * macs, 3 * batch * macs)


def _striate_lrn(x: Operands) -> Cost:
    return Cost(flops=(x.operation.form.size + 4) * prod(x.output))


def _matmul(left: str, right: str, bias: str | None = None) -> Callable[[Operands], Cost]:
    def count(x: Operands) -> Cost:
        macs, outputs = prod(x.output) * x.shape(left)[-1], prod(x.output)
        if x.is_weight(left) or x.is_weight(right):
            return _weighted(outputs, macs, bias=bias is not None)
        return Cost(macs=macs, flops=2 * macs + (bias is not None) * outputs)

    return count


def _linear(x: Operands) -> Cost:
    return _weighted(prod(x.output), prod(x.output) * x.shape("weight")[-1], bias=x.has("bias"))


def _attention(x: Operands) -> Cost:
    """Two matrix products and a softmax, of all queries and keys even where a mask hides some."""
    *rows, length, width = x.shape("query")
    keys, values = x.shape("key")[-2], x.shape("value")[-1]
    scores = prod(rows) * length * keys
    return Cost(macs=scores * (width + values), flops=2 * scores * (width + values) + 6 * scores)


def _recurrent(x: Operands) -> Cost:
    """The matrix products of a layer over all its steps; not those of the gates' elements."""
    length, batch, _ = x.shape("input")
    macs = length * batch * (prod(x.shape("weight0")) + prod(x.shape("weight1")))
    return Cost(macs=macs, flops=2 * macs, counted=False)


def _pool(x: Operands) -> Cost:
    kernel, axes = x.arguments["kernel_size"], int(x.operation.name.partition("pool")[2][0])
    positions = prod(kernel) if len(kernel) == axes else kernel[0] ** axes
    edges = prod(x.output) * positions
    return Cost(prod(x.output), edges, 0, edges)


def _adaptive_pool(x: Operands) -> Cost:
    name = "self" if "self" in x.arguments else "input"
    image, axes = x.shape(name), len(x.arguments["output_size"])
    edges = prod(image[:-axes])
    for n, outputs in zip(image[-axes:], x.output[-axes:], strict=True):
        edges *= sum(-(-(o + 1) * n // outputs) - o * n // outputs for o in range(outputs))
    return Cost(prod(x.output), edges, 0, edges)


def _batch_norm(x: Operands) -> Cost:
    training = x.arguments.get("training", x.arguments.get("train", False))
    return Cost(flops=(2 if not training else 5 + 2 * x.has("weight")) * prod(x.output))


def _norm(x: Operands) -> Cost:
    return Cost(flops=(7 if x.has("weight") else 5) * prod(x.output))


def _each(flops: int) -> Callable[[Operands], Cost]:
    return lambda x: Cost(flops=flops * prod(x.output))


def _reduction(x: Operands) -> Cost:
    name = next(name for name in ("self", "input", "x") if name in x.arguments)
    return Cost(flops=prod(x.shape(name)))


def _nothing(_: Operands) -> Cost:
    return Cost()


_MOVES = """
    view _unsafe_view reshape _reshape_alias permute transpose t unsqueeze squeeze expand slice select narrow split
    split_with_sizes unsafe_split unsafe_split_with_sizes chunk unbind alias detach clone contiguous _to_copy copy
    lift_fresh cat stack constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
    replication_pad2d replication_pad3d flip roll repeat index_select gather index embedding pixel_shuffle
    pixel_unshuffle channel_shuffle im2col unfold as_strided zeros_like ones_like empty_like full_like new_zeros
    new_ones new_empty new_full fill zero upsample_nearest1d upsample_nearest2d upsample_nearest3d
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d max_unpool2d max_unpool3d
    native_dropout dropout one_hot diagonal view_as_real view_as_complex scatter masked_fill index_put tril triu
    movedim squeeze_copy _assert_async sym_size lift
"""
_REDUCTIONS = (
    "mean sum amax amin max min var std prod linalg_vector_norm norm logsumexp argmax argmin var_mean std_mean any all"
)

COSTS: Mapping[str, Callable[[Operands], Cost]] = {
    **{f"aten.{name}": _nothing for name in _MOVES.split()},
    **{f"aten.{name}": _reduction for name in _REDUCTIONS.split()},
    "aten.convolution": _conv,
    "aten.mm": _matmul("self", "mat2"),
    "aten.bmm": _matmul("self", "mat2"),
    "aten.mv": _matmul("self", "vec"),
    "aten.dot": lambda x: Cost(macs=x.shape("self")[0], flops=2 * x.shape("self")[0]),
    "aten.addmm": _matmul("mat1", "mat2", "self"),
    "aten.baddbmm": _matmul("batch1", "batch2", "self"),
    "aten.linear": _linear,
    **{
        f"aten._scaled_dot_product_{kind}": _attention
        for kind in (
            "flash_attention_for_cpu",
            "flash_attention",
            "efficient_attention",
            "cudnn_attention",
            "fused_attention_overrideable",
            "attention_math",
        )
    },
    "aten.mkldnn_rnn_layer": _recurrent,
    **{f"aten.{kind}_pool{d}d": _pool for kind in ("avg",) for d in (1, 2, 3)},
    **{f"aten.max_pool{d}d_with_indices": _pool for d in (2, 3)},
    **{f"aten._adaptive_avg_pool{d}d": _adaptive_pool for d in (2, 3)},
    **{f"aten.adaptive_max_pool{d}d": _adaptive_pool for d in (2, 3)},
    **{
        f"aten.{name}": _batch_norm
        for name in (
            "native_batch_norm",
            "cudnn_batch_norm",
            "miopen_batch_norm",
            "_native_batch_norm_legit_no_training",
        )
    },
    **{f"aten.{name}": _norm for name in ("native_layer_norm", "native_group_norm")},
    "aten._fused_rms_norm": lambda x: Cost(flops=4 * prod(x.output)),
    **{f"aten.{name}": _each(5) for name in ("_softmax", "_log_softmax", "_safe_softmax")},
    "aten.glu": _each(2),
    "aten._prelu_kernel": _each(1),
    "aten.rrelu_with_noise": _each(1),
    "aten.cumsum": _each(1),
    "aten.upsample_linear1d": _each(3),
    "aten.upsample_bilinear2d": _each(7),
    "aten._upsample_bilinear2d_aa": lambda _: Cost(counted=False),
    "aten.upsample_trilinear3d": _each(15),
    "aten.upsample_bicubic2d": _each(31),
    "striate.conv": _striate_conv,
    "striate.conv_transpose": _striate_conv_transpose,
    "striate.deform_conv": _striate_deform_conv,
    "striate.max_pool": _striate_pool,
    "striate.avg_pool": _striate_pool,
    "striate.max_unpool": _nothing,
    "striate.subsample": _striate_subsample,
    "striate.local_response_norm": _striate_lrn,
    "striate.highway": _each(3),  # x + t (h - x)
    "striate.scaled_tanh": _each(3),
    "striate.rbf": _striate_rbf,
    "striate.written": _nothing,
}
