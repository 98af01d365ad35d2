"""ONNX's operators in Striate's words: nodes of `ADAPTORS` are computed by `striate.ops`, the others by ONNX."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from striate import ops

Array = npt.NDArray[Any]
Attributes = dict[str, Any]


def run_model(model: onnx.ModelProto, inputs: Sequence[Array], impl: str) -> list[Array]:
    """Return the outputs of an ONNX model for its inputs, in the order of its graph."""
    graph = model.graph
    values = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}
    free = [entry.name for entry in graph.input if entry.name not in values]
    values |= dict(zip(free, inputs, strict=True))
    for node in graph.node:
        given = [values[name] if name else None for name in node.input]
        results = _ours(node, given, impl) if node.op_type in ADAPTORS else _onnx(model, node, given)
        values |= dict(zip(node.output, results, strict=False))
    return [values[entry.name] for entry in graph.output]


def _onnx(model: onnx.ModelProto, node: onnx.NodeProto, given: list[Array | None]) -> list[Array]:
    entries = [[onnx.ValueInfoProto(name=name) for name in names if name] for names in (node.input, node.output)]
    alone = onnx.helper.make_model(onnx.helper.make_graph([node], "alone", *entries), opset_imports=model.opset_import)
    inputs = {name: array for name, array in zip(node.input, given, strict=True) if name}
    return ReferenceEvaluator(alone).run(None, inputs)


def _ours(node: onnx.NodeProto, given: list[Array | None], impl: str) -> list[Array]:
    """Compute one node; integers are computed in float64, which holds ONNX's 8-bit cases exactly."""
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    tensors = [None if array is None else torch.from_numpy(np.array(array)) for array in given]
    return [result.numpy() for result in ADAPTORS[node.op_type](tensors, attributes, impl)]


def _real(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.double()


def _words(attributes: Attributes, size: Sequence[int], kernel: Sequence[int]) -> dict[str, Any]:
    """Return stride, dilation and padding of a window that slides over an input of `size`."""
    rank = len(kernel)
    stride = tuple(attributes.get("strides", (1,) * rank))
    dilation = tuple(attributes.get("dilations", (1,) * rank))
    match attributes.get("auto_pad", b"NOTSET"):
        case b"NOTSET":
            padding: Any = _pairs(attributes.get("pads", (0,) * (2 * rank)))
        case b"VALID":
            padding = "valid"
        case b"SAME_UPPER":
            padding = "same"
        case _:  # SAME_LOWER puts the odd zero at the low end, for which Striate has no word
            totals = (
                max((-(-n // s) - 1) * s + (m - 1) * d + 1 - n, 0)
                for n, m, s, d in zip(size, kernel, stride, dilation, strict=True)
            )
            padding = tuple((total - total // 2, total // 2) for total in totals)
    return {"stride": stride, "dilation": dilation, "padding": padding}


def _pairs(pads: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Turn ONNX's (low, low, ..., high, high, ...) into a (low, high) pair per axis."""
    rank = len(pads) // 2
    return tuple(zip(pads[:rank], pads[rank:], strict=True))


def _conv(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor]:
    x, w, b = (*given, None)[:3]
    words = _words(attributes, x.shape[2:], w.shape[2:])
    return (ops.conv(x, w, b, groups=attributes.get("group", 1), **words, impl=impl),)


def _conv_integer(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor]:
    x, w, x_zero, w_zero = (*(_real(each) for each in given), *(torch.zeros(()).double(),) * 2)[:4]
    w = w - w_zero.view(-1, *(1,) * (w.ndim - 1) if w_zero.ndim else ())
    return (_conv([x - x_zero, w], attributes, impl)[0].to(torch.int32),)


def _conv_transpose(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor]:
    x, w, b = (*given, None)[:3]
    rank, size, kernel = x.ndim - 2, x.shape[2:], w.shape[2:]
    stride = tuple(attributes.get("strides", (1,) * rank))
    dilation = tuple(attributes.get("dilations", (1,) * rank))
    extra = tuple(attributes.get("output_padding", (0,) * rank))
    automatic = attributes.get("auto_pad", b"NOTSET")
    wanted = attributes.get("output_shape")
    padding: Any = _pairs(attributes.get("pads", (0,) * (2 * rank)))
    if wanted is None and automatic.startswith(b"SAME"):
        wanted = [n * s for n, s in zip(size, stride, strict=True)]
    if wanted is not None:  # the specification's formula: what is too much is cropped, what is missing added at the end
        totals = [
            (n - 1) * s + (m - 1) * d + 1 - o
            for n, s, m, d, o in zip(size, stride, kernel, dilation, wanted, strict=True)
        ]
        less = [(max(total, 0) // 2, max(total, 0) - max(total, 0) // 2) for total in totals]
        padding = tuple(pair if automatic == b"SAME_UPPER" else pair[::-1] for pair in less)
        extra = tuple(max(-total, 0) for total in totals)
    words = {"stride": stride, "dilation": dilation, "padding": padding, "output_padding": extra}
    return (ops.conv_transpose(x, w, b, groups=attributes.get("group", 1), **words, impl=impl),)


def _deform_conv(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor]:
    x, w, offset, b, mask = (*given, None, None)[:5]
    groups = {"groups": attributes.get("group", 1), "offset_groups": attributes.get("offset_group", 1)}
    words = _words(attributes, x.shape[2:], w.shape[2:])
    return (ops.deform_conv(x, offset, w, b, mask=mask, **groups, **words, impl=impl),)


def _max_pool(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor, Tensor]:
    (x,) = given
    kernel = tuple(attributes["kernel_shape"])
    words = _words(attributes, x.shape[2:], kernel)
    ceil = bool(attributes.get("ceil_mode", 0))
    values, switches = ops.max_pool(_real(x), kernel, **words, ceil=ceil, return_switches=True, impl=impl)
    if attributes.get("storage_order", 0):
        switches = _by_columns(switches, x.shape[2:])
    return values.to(x.dtype), switches + _map_starts(x)


def _by_columns(switches: Tensor, size: Sequence[int]) -> Tensor:
    """Turn row-major positions in a map of `size` into column-major ones."""
    places = np.unravel_index(switches.numpy(), tuple(size))
    return torch.from_numpy(np.ravel_multi_index(places, tuple(size), order="F"))


def _map_starts(x: Tensor) -> Tensor:
    """Return where each map of x starts in the flattened tensor: ONNX's positions count through all of it."""
    return (torch.arange(x.shape[0] * x.shape[1]) * prod(x.shape[2:])).view(*x.shape[:2], *(1,) * (x.ndim - 2))


def _average_pool(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor]:
    (x,) = given
    kernel = tuple(attributes["kernel_shape"])
    words = _words(attributes, x.shape[2:], kernel)
    how = {"ceil": bool(attributes.get("ceil_mode", 0)), "count_padding": bool(attributes.get("count_include_pad", 0))}
    if max(words.pop("dilation")) == 1:
        return (ops.avg_pool(x, kernel, **words, **how, impl=impl),)
    return (_dilated_mean(x, kernel, attributes, impl),)


def _dilated_mean(x: Tensor, kernel: tuple[int, ...], attributes: Attributes, impl: str) -> Tensor:
    """Return the mean of dilated windows: a convolution with ones, over the same convolution of where values are."""
    words = _words(attributes, x.shape[2:], kernel)
    words["padding"] = tuple(
        (low, high + (-(n + low + high - ((m - 1) * d + 1)) % s if attributes.get("ceil_mode") else 0))
        for n, m, s, d, (low, high) in zip(
            x.shape[2:], kernel, words["stride"], words["dilation"], words["padding"], strict=True
        )
    )
    maps = x.flatten(0, 1)[:, None]
    ones = x.new_ones(1, 1, *kernel)
    counts = ops.conv(torch.ones_like(maps), ones, **words, impl=impl)
    return (ops.conv(maps, ones, **words, impl=impl) / counts).view(*x.shape[:2], *counts.shape[2:])


def _global_pool(pool: Callable[..., Any]) -> Callable[..., tuple[Tensor]]:
    return lambda given, _attributes, impl: (pool(given[0], tuple(given[0].shape[2:]), impl=impl),)


def _max_unpool(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor]:
    x, places, shape = (*given, None)[:3]
    kernel = tuple(attributes["kernel_shape"])
    stride = tuple(attributes.get("strides", (1,) * len(kernel)))
    padding = _pairs(attributes.get("pads", (0,) * (2 * len(kernel))))
    # the positions are those of the maps that the pooling saw, so they are unpooled to that size
    size = tuple((n - 1) * s + m - sum(p) for n, s, m, p in zip(x.shape[2:], stride, kernel, padding, strict=True))
    starts = (torch.arange(x.shape[0] * x.shape[1]) * prod(size)).view(*x.shape[:2], *(1,) * len(kernel))
    wanted = size if shape is None else tuple(shape.tolist()[2:])
    if wanted != size:
        places = _in_larger_map(places - starts, size, wanted)
        starts = torch.zeros_like(starts)
    words = {"stride": stride, "padding": padding, "output_size": wanted}
    return (ops.max_unpool(x, places - starts, kernel, **words, impl=impl),)


def _in_larger_map(switches: Tensor, size: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    places = np.unravel_index(switches.numpy(), size)
    return torch.from_numpy(np.ravel_multi_index(places, wanted))


def _lrn(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor]:
    size = attributes["size"]
    alpha, beta, k = attributes.get("alpha", 1e-4), attributes.get("beta", 0.75), attributes.get("bias", 1.0)
    # of an even size ONNX puts the odd neighbour above, Striate and PyTorch below: the channels are turned around
    y = ops.local_response_norm(given[0].flip(1), size=size, alpha=alpha / size, beta=beta, k=k, impl=impl)
    return (y.flip(1),)


def _col2im(given: list[Any], attributes: Attributes, impl: str) -> tuple[Tensor]:
    """Put columns back into an image: the transpose of a convolution whose kernels each pick one position."""
    x, size, kernel = given[0], given[1].tolist(), given[2].tolist()
    words = _words(attributes, size, kernel)
    taps, channels = prod(kernel), x.shape[1] // prod(kernel)
    blocks = [
        (n + low + high - ((m - 1) * d + 1)) // s + 1
        for n, m, s, d, (low, high) in zip(
            size, kernel, words["stride"], words["dilation"], words["padding"], strict=True
        )
    ]
    extra = tuple(
        n + low + high - ((o - 1) * s + (m - 1) * d + 1)
        for n, o, m, s, d, (low, high) in zip(
            size, blocks, kernel, words["stride"], words["dilation"], words["padding"], strict=True
        )
    )
    one_hot = torch.eye(taps, dtype=x.dtype).view(taps, 1, *kernel).repeat(channels, *(1,) * (len(kernel) + 1))
    columns = x.reshape(x.shape[0], x.shape[1], *blocks)
    return (ops.conv_transpose(columns, one_hot, groups=channels, output_padding=extra, **words, impl=impl),)


ADAPTORS: dict[str, Callable[[list[Any], Attributes, str], tuple[Tensor, ...]]] = {
    "Conv": _conv,
    "ConvInteger": _conv_integer,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _deform_conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalMaxPool": _global_pool(ops.max_pool),
    "GlobalAveragePool": _global_pool(ops.avg_pool),
    "MaxUnpool": _max_unpool,
    "LRN": _lrn,
    "Col2Im": _col2im,
}
