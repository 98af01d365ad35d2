"""Receptive fields of every value of a trace, carried from operation to operation.

Each operation either keeps the fields, lets windows slide over them, or mixes a dimension: then every unit depends on
all units along it. What an operation does that is not in RULES and works on more than single elements is not known, and
the whole input is the bound.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from striate.geometry import Field, Window
from striate.insight._support import Dim, Part, Support, dropped, join_fields, mixed, size_of, slid, viewed
from striate.insight._trace import Operation, Ref, Trace

Result = Support | list[Support] | None  # for the outputs in turn, or one for all; None: not known


def supports(record: Trace) -> dict[int, Support]:
    """Return the support of every value that depends on the trace's first input, by its number."""
    known: dict[int, Support] = {}
    shape = record.values[record.inputs[0]].shape
    if 0 in shape:
        return known
    dims = tuple((Part(n, i - 2 if i > 1 else None),) for i, n in enumerate(shape))
    known[record.inputs[0]] = Support(dims, tuple(Field(n) for n in shape[2:]))
    for operation in record.operations:
        if any(number in known for number in operation.inputs):
            _carry(Step(operation, record, known), known)
    return known


def _carry(step: "Step", known: dict[int, Support]) -> None:
    operation = step.operation
    name = operation.name.removesuffix("_")
    rule = RULES.get(name, _joined if operation.pointwise else None)
    results = None if rule is None else rule(step)
    for place, number in enumerate(operation.outputs):
        result = results[place] if isinstance(results, list) else results
        shape = step.record.values[number].shape
        if result is None or tuple(size_of(dim) for dim in result.dims) != shape:
            result = step.unknown(shape)
        known[number] = result


class Step:
    """One operation with the supports of what it reads."""

    def __init__(self, operation: Operation, record: Trace, known: Mapping[int, Support]) -> None:
        self.operation, self.record, self.known = operation, record, known
        self.arguments = operation.arguments
        self.name = operation.name

    def get(self, name: str) -> Support | None:
        """The support of a tensor among the arguments, None if it does not depend on the input."""
        reference = self.arguments.get(name)
        return self.known.get(reference.value) if isinstance(reference, Ref) else None

    def operand(self, place: int) -> Support | None:
        """The support of an operand of one of Striate's operators."""
        reference = self.arguments["operands"][place]
        return self.known.get(reference.value) if isinstance(reference, Ref) else None

    def first(self) -> Support:
        """The support of the first tensor that depends on the input."""
        return next(self.known[number] for number in self.operation.inputs if number in self.known)

    def shape(self, place: int = 0) -> tuple[int, ...]:
        """The shape of a result."""
        return self.record.values[self.operation.outputs[place]].shape

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor among the arguments."""
        shape: tuple[int, ...] = self.record.values[self.arguments[name].value].shape
        return shape

    def all(self) -> list[Support]:
        """The supports of all that is read and depends on the input."""
        return [self.known[number] for number in self.operation.inputs if number in self.known]

    def joined(self) -> Support:
        """What units depend on that are made of the units at the same place, with broadcasting."""
        shape = self.shape()
        supports = self.all()
        dims = []
        for back in range(len(shape), 0, -1):
            candidates = [
                s.dims[-back] for s in supports if len(s.dims) >= back and size_of(s.dims[-back]) == shape[-back]
            ]
            walking = [dim for dim in candidates if any(part.axis is not None for part in dim)]
            dims.append((walking or candidates or [(Part(shape[-back]),)])[0])
        result = Support(tuple(dims), supports[0].fields)
        return Support(result.dims, join_fields(supports, result))

    def unknown(self, shape: tuple[int, ...] | None = None) -> Support:
        """A bound for an operation of which nothing is known: every unit may depend on the whole input."""
        shape = self.shape() if shape is None else shape
        supports = self.all()
        fields = supports[0].fields
        same = [s for s in supports if tuple(size_of(dim) for dim in s.dims) == shape]
        if same:
            dims, strides = same[0].dims, [f.stride for f in same[0].fields]
        else:
            walks = len(shape) == 2 + len(fields)
            dims = tuple((Part(n, i - 2 if walks and i > 1 else None),) for i, n in enumerate(shape))
            strides = [Fraction(f.extent, shape[i + 2]) if walks else Fraction(1) for i, f in enumerate(fields)]
        bounds = (Field.whole(f.extent, stride=s, exact=False) for f, s in zip(fields, strides, strict=True))
        return Support(dims, tuple(bounds))


def _view(x: Step) -> Result:
    return viewed(x.first(), x.shape())


def _transpose(x: Step) -> Result:
    support = x.first()
    order = list(range(len(support.dims)))
    a, b = x.arguments["dim0"], x.arguments["dim1"]
    order[a], order[b] = order[b], order[a]
    return _ordered(support, order)


def _t(x: Step) -> Result:
    support = x.first()
    return _ordered(support, range(len(support.dims))[::-1])


def _permute(x: Step) -> Result:
    return _ordered(x.first(), x.arguments["dims"])


def _ordered(support: Support, order: Sequence[int]) -> Support:
    return Support(tuple(support.dims[i] for i in order), support.fields)


def _same(x: Step) -> Result:
    return x.first()


def _unsqueeze(x: Step) -> Result:
    support = x.first()
    dim = x.arguments["dim"] % (len(support.dims) + 1)
    return Support((*support.dims[:dim], (Part(1),), *support.dims[dim:]), support.fields)


def _squeeze(x: Step) -> Result:
    support = x.first()
    asked = x.arguments.get("dim")
    dims = range(len(support.dims)) if asked is None else asked if isinstance(asked, list) else [asked]
    return dropped(support, [d for d in dims if size_of(support.dims[d]) == 1])


def _select(x: Step) -> Result:
    return dropped(_sliced(x.first(), x.arguments["dim"], x.arguments["index"], 1, 1), [x.arguments["dim"]])


def _slice(x: Step) -> Result:
    dim = x.arguments["dim"]
    start = x.arguments["start"] or 0
    return _sliced(x.first(), dim, start, x.shape()[dim], x.arguments["step"])


def _split(x: Step) -> Result:
    dim, start, results = x.arguments["dim"], 0, []
    for place in range(len(x.operation.outputs)):
        size = x.shape(place)[dim]
        results.append(_sliced(x.first(), dim, start, size, 1))
        start += size
    return results


def _unbind(x: Step) -> Result:
    dim, support = x.arguments["dim"], x.first()
    return [dropped(_sliced(support, dim, place, 1, 1), [dim]) for place in range(len(x.operation.outputs))]


def _sliced(support: Support, dim: int, start: int, size: int, step: int) -> Support:
    """Take `size` units of a dimension, from a start on by steps."""
    dim %= len(support.dims)
    before = size_of(support.dims[dim])
    start = max(start + before, 0) if start < 0 else min(start, before)
    if size == before:
        return support
    parts = support.dims[dim]
    fields, dims = list(support.fields), list(support.dims)
    walking = [part for part in parts if part.axis is not None]
    if len(parts) == 1 and walking:
        axis = walking[0].axis
        fields[axis] = fields[axis].window(1, units=size, stride=step, low=-start)  # type: ignore[index]
        dims[dim] = (Part(size, axis),)
        return Support(tuple(dims), tuple(fields))
    if walking:  # a part of several dimensions made one
        support = mixed(support, [dim])
        fields = [f.bound() if i in {p.axis for p in walking} else f for i, f in enumerate(support.fields)]
    dims[dim] = (Part(size),)
    return Support(tuple(dims), tuple(fields))


def _cat(x: Step) -> Result:
    supports, shape = x.all(), x.shape()
    dim = x.arguments["dim"] % len(shape)
    if x.name == "aten.stack":
        supports = [Support((*s.dims[:dim], (Part(1),), *s.dims[dim:]), s.fields) for s in supports]
    supports = [s for s in supports if len(s.dims) == len(shape)]  # an empty vector may be among them
    if any(part.axis is not None for s in supports for part in s.dims[dim]):
        return None
    dims = [max((s.dims[i] for s in supports), key=_walks) for i in range(len(shape))]
    dims[dim] = (Part(shape[dim]),)
    result = Support(tuple(dims), supports[0].fields)
    return Support(result.dims, join_fields(supports, result))


def _walks(dim: Dim) -> int:
    return sum(part.axis is not None for part in dim)


def _pad(x: Step) -> Result:
    pads = x.arguments["pad"] if "pad" in x.arguments else x.arguments["padding"]
    support, shape = x.first(), x.shape()
    fields, dims = list(support.fields), list(support.dims)
    for place in range(len(pads) // 2):
        dim = len(shape) - 1 - place
        if not (pads[2 * place] or pads[2 * place + 1]):
            continue
        parts = support.dims[dim]
        if _walks(parts) and len(parts) > 1:
            return None
        axis = parts[0].axis
        if axis is not None:
            fields[axis] = fields[axis].window(1, units=shape[dim], low=pads[2 * place])
        dims[dim] = (Part(shape[dim], axis),)
    return Support(tuple(dims), tuple(fields))


def _reduce(x: Step) -> Result:
    support = x.first()
    asked = x.arguments.get("dim")
    if asked is None or asked == []:
        asked = list(range(len(support.dims)))
    asked = [asked] if isinstance(asked, int) else asked
    return dropped(support, asked, keep=len(x.shape()) == len(support.dims))


def _softmax(x: Step) -> Result:
    return mixed(x.first(), [x.arguments["dim"]])


def _group_norm(x: Step) -> Result:
    support = x.first()
    return mixed(support, range(1, len(support.dims)))


def _layer_norm(x: Step) -> Result:
    support = x.first()
    return mixed(support, [-1 - i for i in range(len(x.arguments["normalized_shape"]))])


def _batch_norm(x: Step) -> Result:
    training = x.arguments.get("training", False)
    support = x.first()
    return mixed(support, [i for i in range(len(support.dims)) if i != 1]) if training else support


def _matmul(left: str, right: str) -> Callable[[Step], Result]:
    def rule(x: Step) -> Result:
        a, b = x.get(left), x.get(right)
        supports = [mixed(s, [d]) for s, d in ((a, -1), (b, -2 if b and len(b.dims) > 1 else -1)) if s is not None]
        if not supports:
            return None
        shape = x.shape()
        dims: list[Dim] = [(Part(n),) for n in shape]
        if a is not None:
            rows = a.dims[:-1]
            dims[: len(rows)] = rows
        if b is not None and len(b.dims) > 1:
            dims[-1] = b.dims[-1]
            batch = b.dims[:-2]
            if a is None:
                dims[: len(batch)] = batch
        result = Support(tuple(dims), supports[0].fields)
        return Support(result.dims, join_fields(supports, result))

    return rule


def _linear(x: Step) -> Result:
    support = mixed(x.first(), [-1])
    return Support((*support.dims[:-1], (Part(x.shape()[-1]),)), support.fields)


def _attention(x: Step) -> Result:
    query, key, value = x.get("query"), x.get("key"), x.get("value")
    if query is None or key is None or value is None:
        return None
    result = Support((*mixed(query, [-1]).dims[:-1], value.dims[-1]), query.fields)
    supports = [mixed(query, [-1]), mixed(key, [-1, -2]), mixed(value, [-2])]
    joined = Support(result.dims, join_fields(supports, result))
    return [joined, joined]


def _window_rule(kernel: str, *, mixes: bool) -> Callable[[Step], Result]:
    """A convolution or pooling of PyTorch's, from its lists of settings; `kernel` names its weight or its sizes."""

    def rule(x: Step) -> Result:
        support = x.get("input") or x.get("self")
        if support is None:
            return None
        sizes = list(x.shape_of(kernel)[2:]) if mixes else x.arguments[kernel]
        axes = int(x.name[x.name.index("d_") - 1] if "d_" in x.name else x.name[-2]) if not mixes else len(sizes)

        def setting(name: str, usual: int) -> list[int]:
            given = x.arguments.get(name)
            entries = [usual] if given is None else list(given)
            return entries * axes if len(entries) == 1 else entries

        sizes = list(sizes) * axes if len(sizes) == 1 else list(sizes)
        strides = setting("stride", 1) if x.arguments.get("stride") else sizes
        pads, dilations = setting("padding", 0), setting("dilation", 1)

        def slide(field: Field, _before: int, after: int, i: int) -> Field:
            if x.arguments.get("transposed"):
                low = (sizes[i] - 1) * dilations[i] - pads[i]
                words = {"low": low, "dilation": dilations[i], "upsample": strides[i]}
            else:
                words = {"stride": strides[i], "low": pads[i], "dilation": dilations[i]}
            return field.window(sizes[i], units=after, **words)

        return slid(support, x.shape(), axes, slide, mixes=mixes)

    return rule


def _form_window(*, mixes: bool) -> Callable[[Step], Result]:
    """One of Striate's operators whose form has the window that slides over its input."""

    def rule(x: Step) -> Result:
        return slid(x.first(), x.shape(), x.operation.form.window.rank, _slide(x.operation.form.window), mixes=mixes)

    return rule


def _slide(window: Window) -> Callable[[Field, int, int, int], Field]:
    def slide(field: Field, _before: int, after: int, i: int) -> Field:
        words = {"stride": window.stride[i], "low": window.padding[i][0], "dilation": window.dilation[i]}
        return field.window(window.kernel[i], units=after, upsample=window.upsample[i], **words)

    return slide


def _conv_transpose(x: Step) -> Result:
    window = x.operation.form.window  # that of the convolution, over the result

    def slide(field: Field, _before: int, after: int, i: int) -> Field:
        low = window.effective_kernel[i] - 1 - window.padding[i][0]
        words = {"low": low, "dilation": window.dilation[i], "upsample": window.stride[i]}
        return field.window(window.kernel[i], units=after, **words)

    return slid(x.first(), x.shape(), window.rank, slide, mixes=True)


def _deform_conv(x: Step) -> Result:
    """Offsets may reach anywhere: the whole input is the bound."""
    window = x.operation.form.window
    support = x.operand(0) or x.first()

    def slide(field: Field, _before: int, _after: int, i: int) -> Field:
        return Field.whole(field.extent, stride=field.stride * window.stride[i], exact=False)

    return slid(support, x.shape(), window.rank, slide, mixes=True)


def _anywhere(x: Step) -> Result:
    """Unpooling and sampling: where a unit looks depends on the data; the whole input is the bound."""
    axes = len(x.shape()) - 2

    def slide(field: Field, before: int, after: int, _i: int) -> Field:
        times = Fraction(1, round(after / before)) if after >= before else Fraction(before, after)
        return Field.whole(field.extent, stride=field.stride * times, exact=False)

    return slid(x.first(), x.shape(), axes, slide, mixes=False)


def _adaptive_pool(x: Step) -> Result:
    axes = len(x.arguments["output_size"])

    def slide(field: Field, before: int, after: int, _i: int) -> Field:
        return field.span(before) if after == 1 else field.bins(before, after)

    return slid(x.first(), x.shape(), axes, slide, mixes=False)


def _interpolate(reach: tuple[int, int], *, nearest: str = "") -> Callable[[Step], Result]:
    def rule(x: Step) -> Result:
        axes = len(x.shape()) - 2
        names = ["scales"] if axes == 1 else ["scales_d", "scales_h", "scales_w"][-axes:]

        def slide(field: Field, before: int, after: int, i: int) -> Field:
            scale = x.arguments.get(names[i])
            ratio = Fraction(before, after) if not scale else (1 / Fraction(scale)).limit_denominator(1000)
            shift = ratio / 2 - Fraction(1, 2)
            if nearest:
                shift = ratio / 2 if nearest == "exact" else Fraction(0)
            elif x.arguments["align_corners"]:
                ratio, shift = Fraction(before - 1, max(after - 1, 1)), Fraction(0)
            if not ratio or before == 1:
                return field.span(before, keep_stride=True)
            return field.resample(ratio, shift, reach, units=after)

        return slid(x.first(), x.shape(), axes, slide, mixes=False)

    return rule


def _pixel_shuffle(x: Step) -> Result:
    """Each unit becomes a square of them."""

    def slide(field: Field, before: int, after: int, _i: int) -> Field:
        return field.resample(Fraction(before, after), Fraction(0), (0, 0), units=after)

    return slid(x.first(), x.shape(), 2, slide, mixes=True)


def _pixel_unshuffle(x: Step) -> Result:
    """Each square becomes a unit of many channels; a channel has one of its units, so the square is a bound."""

    def slide(field: Field, before: int, after: int, _i: int) -> Field:
        return field.window(before // after, units=after, stride=before // after).bound()

    return slid(x.first(), x.shape(), 2, slide, mixes=True)


def _im2col(x: Step) -> Result:
    """Windows laid out as columns; a row has one position of each, so the window is a bound."""
    support = x.first()
    a = x.arguments
    shape = x.record.values[a["self"].value].shape
    dims, fields = [], list(support.fields)
    for i in range(2):
        axis = support.dims[2 + i][0].axis
        if axis is None or len(support.dims[2 + i]) > 1:
            return None
        extent = (a["kernel_size"][i] - 1) * a["dilation"][i] + 1
        units = (shape[2 + i] + 2 * a["padding"][i] - extent) // a["stride"][i] + 1
        words = {"stride": a["stride"][i], "low": a["padding"][i], "dilation": a["dilation"][i]}
        fields[axis] = fields[axis].window(a["kernel_size"][i], units=units, **words).bound()
        dims.append(Part(units, axis))
    return Support((support.dims[0], (Part(x.shape()[1]),), tuple(dims)), tuple(fields))


def _rbf(x: Step) -> Result:
    support = mixed(x.first(), [-1])
    return Support((*support.dims[:-1], (Part(x.shape()[-1]),)), support.fields)


def _joined(x: Step) -> Result:
    return x.joined()


RULES: Mapping[str, Callable[[Step], Result]] = {
    **dict.fromkeys(("aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias"), _view),
    "aten.transpose": _transpose,
    "aten.t": _t,
    "aten.permute": _permute,
    **{
        f"aten.{name}": _same
        for name in ("alias", "detach", "clone", "contiguous", "_to_copy", "native_dropout", "glu_jvp", "lift_fresh")
    },
    "aten.expand": _joined,
    "aten.unsqueeze": _unsqueeze,
    "aten.squeeze": _squeeze,
    "aten.select": _select,
    "aten.slice": _slice,
    **{f"aten.{name}": _split for name in ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes")},
    "aten.unbind": _unbind,
    **dict.fromkeys(("aten.cat", "aten.stack"), _cat),
    "aten.constant_pad_nd": _pad,
    **{f"aten.{kind}_pad{d}d": _pad for kind in ("reflection", "replication") for d in (1, 2, 3)},
    **{
        f"aten.{name}": _reduce
        for name in ("mean", "sum", "amax", "amin", "var", "std", "linalg_vector_norm", "logsumexp", "var_mean", "max")
    },
    **{f"aten.{name}": _softmax for name in ("_softmax", "_log_softmax", "_safe_softmax")},
    "aten.native_group_norm": _group_norm,
    "aten.native_layer_norm": _layer_norm,
    **{f"aten.{name}": _batch_norm for name in ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm")},
    "aten._native_batch_norm_legit_no_training": _batch_norm,
    "aten.mm": _matmul("self", "mat2"),
    "aten.bmm": _matmul("self", "mat2"),
    "aten.addmm": _matmul("mat1", "mat2"),
    "aten.baddbmm": _matmul("batch1", "batch2"),
    "aten.mv": _matmul("self", "vec"),
    "aten.linear": _linear,
    **{
        f"aten._scaled_dot_product_{kind}": _attention
        for kind in ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
    },
    "aten.convolution": _window_rule("weight", mixes=True),
    **{f"aten.avg_pool{d}d": _window_rule("kernel_size", mixes=False) for d in (1, 2, 3)},
    **{f"aten.max_pool{d}d_with_indices": _window_rule("kernel_size", mixes=False) for d in (2, 3)},
    **{f"aten._adaptive_avg_pool{d}d": _adaptive_pool for d in (2, 3)},
    **{f"aten.adaptive_max_pool{d}d": _adaptive_pool for d in (2, 3)},
    **{f"aten.upsample_nearest{d}d": _interpolate((0, 0), nearest="floor") for d in (1, 2, 3)},
    **{f"aten._upsample_nearest_exact{d}d": _interpolate((0, 0), nearest="exact") for d in (1, 2, 3)},
    **{f"aten.upsample_{kind}": _interpolate((0, 1)) for kind in ("linear1d", "bilinear2d", "trilinear3d")},
    "aten.upsample_bicubic2d": _interpolate((1, 2)),
    **dict.fromkeys(("aten.max_unpool2d", "aten.max_unpool3d", "aten.grid_sampler_2d"), _anywhere),
    "aten.pixel_shuffle": _pixel_shuffle,
    "aten.pixel_unshuffle": _pixel_unshuffle,
    "aten.im2col": _im2col,
    "striate.conv": _form_window(mixes=True),
    "striate.conv_transpose": _conv_transpose,
    "striate.deform_conv": _deform_conv,
    "striate.max_pool": _form_window(mixes=False),
    "striate.avg_pool": _form_window(mixes=False),
    "striate.subsample": _form_window(mixes=False),
    "striate.max_unpool": _anywhere,
    "striate.local_response_norm": _same,
    "striate.scaled_tanh": _same,
    "striate.highway": _joined,
    "striate.rbf": _rbf,
}
