"""Seeded random calls of every operator: awkward geometries by chance, the same ones every time."""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from judge_record import Array

Pairs = tuple[tuple[int, int], ...]


class Call(NamedTuple):
    """An operator and one set of arguments for it: float64 operands that have gradients, others, and words."""

    operator: str
    operands: dict[str, Array]
    words: dict[str, Any]
    fixed: dict[str, Array] = {}  # noqa: RUF012  # never written to

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size of the input."""
        return self.operands["x"].shape[2:]

    @property
    def rank(self) -> int:
        return len(self.size)


def draw(operator: str, seed: int) -> Call:
    """Return the call number `seed` of an operator; the same number gives the same call."""
    return DRAWS[operator](np.random.default_rng((seed, list(DRAWS).index(operator))))


def effective(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Extent of a dilated kernel, equation (5.47)."""
    return tuple((m - 1) * d + 1 for m, d in zip(kernel, dilation, strict=True))


def _axes(rng: Any, low: int, high: int, rank: int) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(low, high + 1, rank))


def _rank(rng: Any) -> int:
    return int(rng.choice([1, 2, 2, 3]))


def _pairs(rng: Any, low: int, high: int, rank: int) -> Pairs:
    """Padding: half of the time the same at both ends of an axis and nowhere negative, as the libraries take it."""
    if rng.integers(2):
        return tuple((n, n) for n in _axes(rng, 0, high, rank))
    return tuple(zip(_axes(rng, low, high, rank), _axes(rng, low, high, rank), strict=True))


def _conv(rng: Any) -> Call:
    rank, groups = _rank(rng), int(rng.integers(1, 4))
    kernel, dilation = _axes(rng, 1, 4, rank), _axes(rng, 1, 2, rank)
    upsample = _axes(rng, 1, 3, rank) if rng.integers(3) == 0 else (1,) * rank
    padding = _pairs(rng, -1, 3, rank)
    size = tuple(  # large enough for one window, and not less than the crop
        max(-(-(m - low - high - 1) // u) + 1, 1 - min(low, 0) - min(high, 0), 1) + extra
        for m, u, (low, high), extra in zip(
            effective(kernel, dilation), upsample, padding, _axes(rng, 0, 4, rank), strict=True
        )
    )
    inputs, outputs = int(rng.integers(1, 3)), int(rng.integers(1, 3)) * groups
    operands = {
        "x": rng.standard_normal((int(rng.integers(1, 3)), inputs * groups, *size)),
        "w": rng.standard_normal((outputs, inputs, *kernel)),
    }
    if rng.integers(2):
        operands["b"] = rng.standard_normal(outputs)
    stride = _axes(rng, 1, 3, rank)
    words = {"stride": stride, "padding": padding, "dilation": dilation, "upsample": upsample, "groups": groups}
    return Call("conv", operands, {**words, "flip": bool(rng.integers(2))})


def _conv_transpose(rng: Any) -> Call:
    rank, groups = _rank(rng), int(rng.integers(1, 4))
    size, kernel, stride = _axes(rng, 1, 5, rank), _axes(rng, 1, 4, rank), _axes(rng, 1, 3, rank)
    dilation = _axes(rng, 1, 2, rank)
    spans = [(n - 1) * s + m for n, s, m in zip(size, stride, effective(kernel, dilation), strict=True)]
    padding = tuple(
        (min(low, (span - 1) // 2), min(high, (span - 1) // 2))
        for span, (low, high) in zip(spans, _pairs(rng, -1, 3, rank), strict=True)
    )
    extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
    inputs, outputs = int(rng.integers(1, 3)) * groups, int(rng.integers(1, 3))
    operands = {
        "x": rng.standard_normal((int(rng.integers(1, 3)), inputs, *size)),
        "w": rng.standard_normal((inputs, outputs, *kernel)),
    }
    if rng.integers(2):
        operands["b"] = rng.standard_normal(outputs * groups)
    words = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": extra, "groups": groups}
    return Call("conv_transpose", operands, {**words, "flip": bool(rng.integers(2))})


def _deform_conv(rng: Any) -> Call:
    groups, offset_groups = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    kernel, stride, dilation = _axes(rng, 1, 3, 2), _axes(rng, 1, 2, 2), _axes(rng, 1, 2, 2)
    padding = _pairs(rng, 0, 2, 2)
    size = tuple(m + extra for m, extra in zip(effective(kernel, dilation), _axes(rng, 0, 3, 2), strict=True))
    outputs = tuple(
        (n + sum(pair) - m) // s + 1
        for n, m, s, pair in zip(size, effective(kernel, dilation), stride, padding, strict=True)
    )
    batch, inputs = int(rng.integers(1, 3)), groups * offset_groups
    positions = (batch, 2 * offset_groups * prod(kernel), *outputs)
    # away from whole numbers, where bilinear interpolation has no derivative
    offset = rng.integers(-3, 3, positions) + rng.uniform(0.1, 0.9, positions)
    operands = {
        "x": rng.standard_normal((batch, inputs, *size)),
        "offset": offset,
        "w": rng.standard_normal((2 * groups, inputs // groups, *kernel)),
    }
    if rng.integers(2):
        operands["b"] = rng.standard_normal(2 * groups)
    if rng.integers(2):
        operands["mask"] = rng.uniform(0, 1, (batch, offset_groups * prod(kernel), *outputs))
    words = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Call("deform_conv", operands, {**words, "offset_groups": offset_groups})


def _pool(rng: Any, *, dilated: bool) -> tuple[Array, dict[str, Any]]:
    """Draw the input and the window of a pooling in which every window holds an input."""
    rank = _rank(rng)
    kernel, stride = _axes(rng, 1, 4, rank), _axes(rng, 1, 3, rank)
    dilation = _axes(rng, 1, 2, rank) if dilated else (1,) * rank
    # a window of one tap in a dilated kernel could fall between the inputs: at most half a tap of padding
    padding = tuple(
        (min(low, (m - 1) // 2), min(high, (m - 1) // 2))
        for m, (low, high) in zip(kernel, _pairs(rng, -1, 2, rank), strict=True)
    )
    size = tuple(
        m - min(low, 0) - min(high, 0) + extra
        for m, (low, high), extra in zip(effective(kernel, dilation), padding, _axes(rng, 0, 4, rank), strict=True)
    )
    x = rng.permutation(2 * 2 * prod(size)).reshape(2, 2, *size) / prod(size) - 2.0  # no two values alike: no ties
    ceil = bool(rng.integers(2))
    words = {"kernel": kernel, "stride": stride, "padding": padding, "ceil": ceil}
    return x, {**words, "dilation": dilation} if dilated else words


def _max_pool(rng: Any) -> Call:
    x, words = _pool(rng, dilated=True)
    return Call("max_pool", {"x": x}, words)


def _avg_pool(rng: Any) -> Call:
    x, words = _pool(rng, dilated=False)
    return Call("avg_pool", {"x": x}, {**words, "count_padding": bool(rng.integers(2))})


def _max_unpool(rng: Any) -> Call:
    """Windows side by side: where they overlap, which of several values stands is a matter of order."""
    rank = _rank(rng)
    kernel, inputs = _axes(rng, 1, 3, rank), _axes(rng, 1, 4, rank)
    size = tuple(n * m + int(rng.integers(0, m)) for n, m in zip(inputs, kernel, strict=True))
    x = rng.standard_normal((2, 2, *inputs))
    starts = np.meshgrid(*(np.arange(n) * m for n, m in zip(inputs, kernel, strict=True)), indexing="ij")
    inside = [rng.integers(0, m, x.shape) for m in kernel]
    switches = np.ravel_multi_index([start + at for start, at in zip(starts, inside, strict=True)], size)
    return Call("max_unpool", {"x": x}, {"kernel": kernel, "output_size": size}, {"switches": switches})


def _subsample(rng: Any) -> Call:
    rank = _rank(rng)
    kernel, stride = _axes(rng, 1, 3, rank), _axes(rng, 1, 3, rank)
    size = tuple(m + int(rng.integers(0, 5)) for m in kernel)
    operands = {
        "x": rng.standard_normal((2, 3, *size)),
        "weight": rng.standard_normal(3),
        "bias": rng.standard_normal(3),
    }
    return Call("subsample", operands, {"kernel": kernel, "stride": stride, "reduce": str(rng.choice(["mean", "sum"]))})


def _local_response_norm(rng: Any) -> Call:
    x = 3 * rng.standard_normal((2, int(rng.integers(1, 8)), *_axes(rng, 1, 4, _rank(rng))))
    words = {"size": int(rng.integers(1, 8)), "alpha": float(rng.uniform(1e-4, 1)), "beta": float(rng.uniform(0.3, 2))}
    return Call("local_response_norm", {"x": x}, {**words, "k": float(rng.uniform(0.5, 2))})


def _rbf(rng: Any) -> Call:
    features = int(rng.integers(1, 20))
    operands = {name: rng.standard_normal((int(rng.integers(1, 6)), features)) for name in ("x", "centres")}
    return Call("rbf", operands, {})


def _highway(rng: Any) -> Call:
    shape = (2, int(rng.integers(1, 4)), *_axes(rng, 1, 4, _rank(rng)))
    operands = {"x": rng.standard_normal(shape), "h": rng.standard_normal(shape), "t": rng.uniform(0, 1, shape)}
    return Call("highway", operands, {})


def _scaled_tanh(rng: Any) -> Call:
    words = {"amplitude": float(rng.uniform(0.5, 2)), "slope": float(rng.uniform(0.3, 1.5))}
    return Call("scaled_tanh", {"x": 2 * rng.standard_normal((2, int(rng.integers(1, 20))))}, words)


DRAWS: dict[str, Callable[[Any], Call]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "deform_conv": _deform_conv,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "max_unpool": _max_unpool,
    "subsample": _subsample,
    "local_response_norm": _local_response_norm,
    "rbf": _rbf,
    "highway": _highway,
    "scaled_tanh": _scaled_tanh,
}
