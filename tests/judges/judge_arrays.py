"""SciPy and NumPy as judges: their filters, brought to our words by padding, zero-stuffing and slicing."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.signal
import scipy.spatial.distance
import scipy.special
from judge_draws import Call, effective
from judge_record import Array
from numpy.lib.stride_tricks import sliding_window_view

Filter = Callable[[Array, Array, bool], Array]


def _conv_by(slide: Filter, ranks: tuple[int, ...]) -> Callable[[Call], Array | None]:
    """Return a judge of conv that slides single kernels over single maps with slide(map, kernel, flip), all valid."""

    def judge(call: Call) -> Array | None:
        words = call.words
        if call.rank not in ranks:
            return None
        x = _pad(_stuff(call.operands["x"], words["upsample"]), words["padding"])
        w = _stuff(call.operands["w"], words["dilation"])
        y = _map_by_map(x, w, words["groups"], lambda image, kernel: slide(image, kernel, words["flip"]))
        return _every(y, words["stride"]) + _per_channel(call.operands.get("b"), call.rank)

    return judge


def _conv_transpose_by(full: Filter, ranks: tuple[int, ...]) -> Callable[[Call], Array | None]:
    """Return a judge of conv_transpose: the full convolution of the zero-stuffed input, cropped or padded."""

    def judge(call: Call) -> Array | None:
        words, w = call.words, _stuff(call.operands["w"], call.words["dilation"])
        if call.rank not in ranks:
            return None
        groups = words["groups"]
        parts = [part.swapaxes(0, 1) for part in np.split(w, groups)]  # output channels first
        x = _stuff(call.operands["x"], words["stride"])
        # the convolution turns the kernel around, which is what the transpose of a cross-correlation does
        y = _map_by_map(x, np.concatenate(parts), groups, lambda image, kernel: full(image, kernel, not words["flip"]))
        extra = zip(words["padding"], words["output_padding"], strict=True)
        y = _pad(y, tuple((-low, more - high) for (low, high), more in extra))
        return y + _per_channel(call.operands.get("b"), call.rank)

    return judge


def _signal(mode: str) -> Filter:
    def slide(image: Array, kernel: Array, flip: bool) -> Array:
        function = scipy.signal.convolve if flip else scipy.signal.correlate
        return function(image, kernel, mode, method="direct")

    return slide


def _ndimage_valid(image: Array, kernel: Array, flip: bool) -> Array:
    """ndimage gives an output at every position; those whose kernel lies inside the image are the valid ones."""
    function = scipy.ndimage.convolve if flip else scipy.ndimage.correlate
    starts = [(m - 1) // 2 if flip else m // 2 for m in kernel.shape]
    y = function(image, kernel, mode="constant")
    return y[tuple(slice(c, c + n - m + 1) for c, n, m in zip(starts, image.shape, kernel.shape, strict=True))]


def _numpy(mode: str) -> Filter:
    def slide(image: Array, kernel: Array, flip: bool) -> Array:
        return np.convolve(image, kernel if flip else kernel[::-1], mode)

    return slide


def deform_conv(call: Call) -> Array:
    """Samples by ndimage.map_coordinates, linear between neighbours, zeros around."""
    x, offset, w, words = (*(call.operands[name] for name in ("x", "offset", "w")), call.words)
    kernel, outputs, groups = w.shape[2:], offset.shape[2:], words["offset_groups"]
    offset = offset.reshape(len(x), groups, prod(kernel), 2, *outputs)
    mask = call.operands.get("mask", np.ones((len(x), groups * prod(kernel), *outputs)))
    mask = mask.reshape(len(x), groups, prod(kernel), *outputs)
    columns = np.zeros((*x.shape[:2], prod(kernel), *outputs))
    for n, c, tap in np.ndindex(columns.shape[:3]):
        g = c // (x.shape[1] // groups)
        grids = np.meshgrid(
            *(
                np.arange(o) * s + k * d - low
                for o, s, k, d, (low, _) in zip(
                    outputs, words["stride"], divmod(tap, kernel[1]), words["dilation"], words["padding"], strict=True
                )
            ),
            indexing="ij",
        )
        places = np.stack(grids) + offset[n, g, tap]
        columns[n, c, tap] = scipy.ndimage.map_coordinates(x[n, c], places, order=1, mode="grid-constant")
        columns[n, c, tap] *= mask[n, g, tap]
    parts = zip(np.split(columns, words["groups"], 1), np.split(w, words["groups"]), strict=True)
    y = [np.einsum("nckhw,pck->nphw", part, v.reshape(*v.shape[:2], -1)) for part, v in parts]
    return np.concatenate(y, 1) + _per_channel(call.operands.get("b"), 2)


def _pooled(call: Call, values: Array, fill: float, pool: Callable[[Array], Array]) -> Array:
    """Pad with `fill`, so far that the last window is whole, slide by one, and take every stride-th position."""
    words = call.words
    kernel = effective(words["kernel"], words.get("dilation", (1,) * call.rank))
    padding = words.get("padding", ((0, 0),) * call.rank)
    values = _pad(values, tuple((min(low, 0), min(high, 0)) for low, high in padding))
    pads = [(max(low, 0), max(high, 0)) for low, high in padding]
    counts = []
    for n, m, s, (low, high) in zip(values.shape[2:], kernel, words["stride"], pads, strict=True):
        starts = range(0, n + low, s)  # in the input or the low padding
        over = m - 1 if words.get("ceil") else 0
        fits = [start for start in starts if start + m <= n + low + high + min(over, s - 1)]
        counts.append(len(fits))
    y = pool(_pad(values, tuple((low, high + m) for (low, high), m in zip(pads, kernel, strict=True)), fill))
    return _every(y, words["stride"])[(..., *(slice(count) for count in counts))]


def max_pool_ndimage(call: Call) -> Array:
    words = call.words
    footprint = _stuff(np.ones((1, 1, *words["kernel"])), words["dilation"])[0, 0] > 0
    slide = lambda image: _from_start(  # noqa: E731
        scipy.ndimage.maximum_filter(image, footprint=footprint[None, None], mode="constant", cval=-np.inf),
        footprint.shape,
    )
    return _pooled(call, call.operands["x"], -np.inf, slide)


def max_pool_numpy(call: Call) -> Array:
    words, axes = call.words, tuple(range(2, 2 + call.rank))
    extent = effective(words["kernel"], words["dilation"])
    every = (..., *(slice(None, None, d) for d in words["dilation"]))
    slide = lambda image: sliding_window_view(image, extent, axes)[every].max(tuple(range(-call.rank, 0)))  # noqa: E731
    return _pooled(call, call.operands["x"], -np.inf, slide)


def avg_pool(call: Call) -> Array:
    """The mean of the window over the mean of where there is something to count."""
    counted = call.operands["x"] * 0 + 1
    padding = tuple((max(low, 0), max(high, 0)) for low, high in call.words["padding"])
    y = _pooled(call, call.operands["x"], 0.0, lambda image: _uniform(image, call.words["kernel"]))
    if not call.words["count_padding"]:
        return y / _pooled(call, counted, 0.0, lambda image: _uniform(image, call.words["kernel"]))
    # the declared padding counts, what a last window hangs over does not
    cropped = tuple((min(low, 0), min(high, 0)) for low, high in call.words["padding"])
    inside = _pad(_pad(counted, cropped), padding, 1.0)
    whole = Call("avg_pool", {"x": inside}, {**call.words, "padding": ((0, 0),) * call.rank})
    counts = _pooled(whole, inside, 0.0, lambda image: _uniform(image, call.words["kernel"]))
    return y / counts[(..., *(slice(n) for n in y.shape[2:]))]


def _uniform(image: Array, kernel: tuple[int, ...]) -> Array:
    for axis, m in enumerate(kernel, start=2):
        image = scipy.ndimage.uniform_filter1d(image, m, axis=axis, mode="constant")
    return _from_start(image, kernel)


def _from_start(image: Array, kernel: tuple[int, ...]) -> Array:
    """Centred windows counted by where they start."""
    return image[(..., *(slice(m // 2, image.shape[2 + axis]) for axis, m in enumerate(kernel)))]


def max_unpool(call: Call) -> Array:
    x, size = call.operands["x"], call.words["output_size"]
    y = np.zeros((*x.shape[:2], prod(size)))
    np.put_along_axis(y, call.fixed["switches"].reshape(*x.shape[:2], -1), x.reshape(*x.shape[:2], -1), -1)
    return y.reshape(*x.shape[:2], *size)


def subsample(call: Call) -> Array:
    words = call.words
    pooled = _pooled(call, call.operands["x"], 0.0, lambda image: _uniform(image, words["kernel"]))
    scale = prod(words["kernel"]) if words["reduce"] == "sum" else 1
    w, b = (_per_channel(call.operands[name], call.rank) for name in ("weight", "bias"))
    return w * pooled * scale + b


def local_response_norm(call: Call) -> Array:
    """The sum of neighbours as a correlation with ones along the channels."""
    x, words = call.operands["x"], call.words
    total = scipy.ndimage.correlate1d(x**2, np.ones(words["size"]), axis=1, mode="constant")
    return x / (words["k"] + words["alpha"] * total) ** words["beta"]


def rbf(call: Call) -> Array:
    return scipy.spatial.distance.cdist(call.operands["x"], call.operands["centres"], "sqeuclidean")


def highway(call: Call) -> Array:
    x, h, t = (call.operands[name] for name in "xht")
    return h * t + x * (1 - t)


def scaled_tanh(call: Call) -> Array:
    """By logistic functions: tanh(z) = 1 - 2 / (e^(2 z) + 1)."""
    return call.words["amplitude"] * (1 - 2 * scipy.special.expit(-2 * call.words["slope"] * call.operands["x"]))


def _map_by_map(x: Array, w: Array, groups: int, slide: Callable[[Array, Array], Array]) -> Array:
    """Sum slide(map, kernel) over the input channels of every output channel's group."""
    inputs, outputs = x.shape[1] // groups, w.shape[0] // groups
    return np.stack(
        [
            np.stack(
                [sum(slide(image[p // outputs * inputs + d], w[p, d]) for d in range(inputs)) for p in range(len(w))]
            )
            for image in x
        ]
    )


def _stuff(array: Array, steps: tuple[int, ...]) -> Array:
    """Put step - 1 zeros between neighbours on each spatial axis."""
    size = [(n - 1) * step + 1 for n, step in zip(array.shape[2:], steps, strict=True)]
    result = np.zeros((*array.shape[:2], *size))
    result[(..., *(slice(None, None, step) for step in steps))] = array
    return result


def _pad(array: Array, pairs: Any, fill: float = 0.0) -> Array:
    """Pad the spatial axes; negative numbers crop."""
    array = np.pad(array, [(0, 0)] * 2 + [(max(low, 0), max(high, 0)) for low, high in pairs], constant_values=fill)
    ends = zip(array.shape[2:], pairs, strict=True)
    return array[(..., *(slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in ends))]


def _every(array: Array, stride: tuple[int, ...]) -> Array:
    return array[(..., *(slice(None, None, s) for s in stride))]


def _per_channel(values: Array | None, rank: int) -> Array | float:
    return 0.0 if values is None else values.reshape(-1, *(1,) * rank)


ARRAYS: dict[str, dict[str, Callable[[Call], Array | None]]] = {
    "scipy.signal": {
        "conv": _conv_by(_signal("valid"), (1, 2, 3)),
        "conv_transpose": _conv_transpose_by(_signal("full"), (1, 2, 3)),
    },
    "scipy.ndimage": {
        "conv": _conv_by(_ndimage_valid, (1, 2, 3)),
        "deform_conv": deform_conv,
        "max_pool": max_pool_ndimage,
        "avg_pool": avg_pool,
        "subsample": subsample,
        "local_response_norm": local_response_norm,
    },
    "scipy.spatial": {"rbf": rbf},
    "scipy.special": {"scaled_tanh": scaled_tanh},
    "numpy": {
        "conv": _conv_by(_numpy("valid"), (1,)),
        "conv_transpose": _conv_transpose_by(_numpy("full"), (1,)),
        "max_pool": max_pool_numpy,
        "max_unpool": max_unpool,
        "highway": highway,
    },
}
