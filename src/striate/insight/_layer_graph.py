"""The layers of a traced network and how they follow each other, in words that do not depend on how it was written.

Views and copies disappear, a decomposed local response normalisation is one layer, zero padding before a convolution is
the convolution's, a mean over whole maps is global pooling, and windows are stated by what they do at this size.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from striate.insight._trace import Operation, Ref, Trace

Settings = dict[str, Any]

CONV, CONV_TRANSPOSE, DEFORM, DENSE = "convolution", "transposed convolution", "deformable convolution", "dense layer"
MAX, MEAN, GLOBAL = "max pooling", "mean pooling", "global mean pooling"
BATCH_NORM, LRN, DROPOUT = "batch normalisation", "local response normalisation", "dropout"
ADD, CONCAT, PADDING = "addition", "concatenation", "zero padding"

_MOVES = """
    view _unsafe_view reshape _reshape_alias unsqueeze squeeze expand alias detach clone contiguous _to_copy copy
    lift_fresh t permute transpose as_strided split split_with_sizes chunk unbind select
"""
_TRANSPARENT = frozenset(f"aten.{name}" for name in _MOVES.split())
_ACTIVATIONS = {"relu": "ReLU", "threshold": "ReLU", "hardtanh": "clipped linear", "gelu": "GELU", "silu": "SiLU"}
_ACTIVATIONS |= {name: name for name in ("sigmoid", "tanh", "elu", "exp", "abs", "softplus", "neg")}
_ACTIVATIONS |= {"scaled_tanh": "ScaledTanh"}


@dataclass(frozen=True)
class Layer:
    """One layer: what it does (`kind`, `settings`), which module does it, and what it reads (numbers of layers).

    0 is the network's input; `order` is that of execution.
    """

    kind: str
    settings: tuple[tuple[str, Any], ...]
    path: str
    inputs: tuple[int, ...]
    order: int = 0
    outputs: tuple[int, ...] = ()  # size of what it gives, without the batch


@dataclass
class LayerGraph:
    """The layers by number in the order of execution, 0 being the input; `output` is the last one's number."""

    layers: dict[int, Layer] = field(default_factory=dict)
    output: int = 0


def layer_graph(record: Trace, module: nn.Module) -> LayerGraph:
    """Return the layers that lead from the input to the output of a traced network."""
    builder = _Builder(record, module)
    steps: list[tuple[int, Callable[[], None]]] = [
        (op.order, _bound(builder.operation, op)) for op in record.operations
    ]
    for call in record.calls:
        if call.leaf and call.kind.startswith(("Dropout", "AlphaDropout", "FeatureAlphaDropout")) and call.outputs:
            steps.append((call.order, _bound(builder.dropout, call)))
    for _, step in sorted(steps, key=lambda pair: pair[0]):
        step()
    return _needed(builder.finish())


def _bound(function: Callable[[Any], None], argument: Any) -> Callable[[], None]:
    return lambda: function(argument)


class _Builder:
    """Goes through the operations and notes which layer gave each value."""

    def __init__(self, record: Trace, module: nn.Module) -> None:
        self.record, self.module = record, module
        self.made_by: dict[int, int] = dict.fromkeys(record.inputs, 0)  # value -> layer
        self.layers: dict[int, Layer] = {}
        self.calls = Counter(call.path for call in record.calls if call.leaf)
        self.responses: dict[int, tuple[int, Settings]] = {}  # values on the way of a local response normalisation
        self.pointwise_call: dict[int, int] = {}  # layer that is a function of single elements -> its call
        self.squares: dict[int, int] = {}  # value -> the layer whose output it is the square of

    def operation(self, op: Operation) -> None:
        """Take one operation."""
        values = self.record.values
        if not op.outputs or not values[op.outputs[0]].from_input:
            return
        read = [v for v in op.inputs if values[v].from_input and v in self.made_by]
        name = op.name.removesuffix("_")
        if name == "striate.written":
            read = [v for v in read if v == op.inputs[-1]]
        if not read:
            return
        if name in _TRANSPARENT or name == "striate.written" or _changes_nothing(op, values):
            self._same(op, read[0])
        elif not self._response(op, name, read):
            self._layer(op, name, read)

    def dropout(self, call: Any) -> None:
        """Take a call of a dropout module, which computes nothing in evaluation mode."""
        rate = float(getattr(self.module.get_submodule(call.path), "p", 0.0))
        value = call.outputs[0]
        if rate > 0 and value in self.made_by:
            self._add(DROPOUT, {"rate": rate}, call.path, (self.made_by[value],), [value], call.order)

    def finish(self) -> LayerGraph:
        """Return the graph; several outputs are joined by a layer of their own."""
        outputs = [self.made_by[v] for v in self.record.outputs if v in self.made_by]
        if len(set(outputs)) > 1:
            self._add("outputs", {}, "", tuple(outputs), [], 1 << 60)
            outputs = [len(self.layers)]
        return LayerGraph(self.layers, outputs[0] if outputs else 0)

    def _same(self, op: Operation, value: int) -> None:
        for output in op.outputs:
            self.made_by[output] = self.made_by[value]
            if value in self.responses:
                self.responses[output] = self.responses[value]
            if value in self.squares:
                self.squares[output] = self.squares[value]

    def _layer(self, op: Operation, name: str, read: list[int]) -> None:
        kind, settings = _describe(op, name, self.record.values)
        inputs = [self.made_by[v] for v in read]
        if name in {"striate.max_unpool", "aten.max_unpool2d"}:
            inputs = inputs[:1]  # the switches are its pooling layer's, not a layer of their own
        if kind == "multiplication" and len(set(inputs)) == 1 and len(inputs) == 2:
            self.squares[op.outputs[0]] = inputs[0]
        before = self.layers.get(inputs[0])
        if kind == CONV and before is not None and before.kind == PADDING:
            pads = dict(before.settings)["size"]
            settings["padding"] = tuple(
                (a + c, b + d) for (a, b), (c, d) in zip(pads, settings["padding"], strict=True)
            )
            inputs = list(before.inputs)
        if op.pointwise and len(inputs) == 1 and self._same_leaf(op, inputs[0]):
            number = inputs[0]  # an activation written as several functions of single elements
            kind = f"activation {self.record.calls[op.call].kind}"
            self.layers[number] = replace(self.layers[number], kind=kind, settings=())
            self.made_by[op.outputs[0]] = number
            return
        self._add(kind, settings, op.path, tuple(inputs), op.outputs, op.order)
        if op.pointwise and len(inputs) == 1:
            self.pointwise_call[len(self.layers)] = op.call

    def _same_leaf(self, op: Operation, before: int) -> bool:
        """Whether the layer before is a function of single elements too, of the same call of a module."""
        return self.record.owner(op.call) >= 0 and self.pointwise_call.get(before) == op.call

    def _response(self, op: Operation, name: str, read: list[int]) -> bool:
        """Follow PyTorch's local response normalisation, x / (k + alpha / n * sum of squares)^beta, to its end."""
        out = op.outputs[0]
        squared = next((v for v in read if v in self.squares), None)
        on_way = next((v for v in read if v in self.responses), None)
        if squared is not None and name == "aten.constant_pad_nd":
            self._same(op, squared)
            return True
        if squared is not None and name in {"aten.avg_pool3d", "aten.avg_pool2d"}:
            kernel = op.arguments["kernel_size"]
            self.responses[out] = (self.squares[squared], {"size": kernel[0]})
            self.made_by[out] = self.squares[squared]
            return True
        if on_way is None:
            return False
        source, settings = self.responses[on_way]
        number = next(
            (v for v in op.arguments.values() if isinstance(v, int | float) and not isinstance(v, bool)), None
        )
        word = {"aten.mul": "alpha", "aten.add": "k", "aten.pow": "beta"}.get(name)
        if word is not None and len(read) == 1:
            given = op.arguments.get("other", op.arguments.get("exponent", number))
            settings = {**settings, word: float(given) if isinstance(given, int | float) else given}
            self.responses[out] = (source, settings)
            self.made_by[out] = source
            return True
        if name == "aten.div":
            alpha = float(f"{settings.get('alpha', 1.0) / settings['size']:.9g}")  # as someone would write it
            words = {
                "size": settings["size"],
                "alpha": alpha,
                "beta": settings.get("beta"),
                "k": settings.get("k", 0.0),
            }
            self._add(LRN, words, op.path, (source,), op.outputs, op.order)
            return True
        return False

    def _add(
        self, kind: str, settings: Settings, path: str, inputs: tuple[int, ...], outputs: Iterable[int], order: int
    ) -> None:
        number = len(self.layers) + 1
        outputs = list(outputs)
        if self.calls[path] > 1 and inputs[0] in self.layers:  # one module in several places, such as an activation
            path = f"{self.layers[inputs[0]].path}.{path.rpartition('.')[2]}"
        size = self.record.values[outputs[0]].shape[1:] if outputs else ()
        self.layers[number] = Layer(kind, tuple(settings.items()), path, inputs, order, size)
        for value in outputs:
            self.made_by[value] = number


def _needed(graph: LayerGraph) -> LayerGraph:
    """Leave out layers that the output does not depend on."""
    needed, left = set[int](), [graph.output]
    while left:
        number = left.pop()
        if number and number not in needed:
            needed.add(number)
            left += graph.layers[number].inputs
    return LayerGraph({n: layer for n, layer in graph.layers.items() if n in needed}, graph.output)


# --- what an operation is --------------------------------------------------------------------------------------------


def _describe(op: Operation, name: str, values: list[Any]) -> tuple[str, Settings]:
    """Return the kind and the settings of a layer."""
    short = name.removeprefix("aten.").removeprefix("striate.")
    out = values[op.outputs[0]].shape
    if short in {"conv", "convolution", "conv_transpose", "deform_conv"}:
        return _convolution(op, values, out)
    if short in {"addmm", "mm", "linear"} and op.constants:
        return DENSE, {"units": out[-1], "bias": short == "addmm" or isinstance(op.arguments.get("bias"), Ref)}
    if "pool" in short and "unpool" not in short:
        return _pooling(op, short, values, out)
    if short in {"mean"} and len(values[op.inputs[0]].shape) == 4:
        return _mean(op, values)
    if "batch_norm" in short:
        return BATCH_NORM, {"epsilon": op.arguments.get("eps"), "scale": isinstance(op.arguments.get("weight"), Ref)}
    if short in {"native_layer_norm", "native_group_norm"}:
        words = {"epsilon": op.arguments.get("eps"), "groups": op.arguments.get("group")}
        return short.removeprefix("native_").replace("_norm", " normalisation"), words
    if short == "local_response_norm":
        form = op.form
        return LRN, {"size": form.size, "alpha": float(f"{form.alpha:.9g}"), "beta": form.beta, "k": form.k}
    if short in {"add", "sub", "mul", "div"} and len([v for v in op.inputs if values[v].from_input]) > 1:
        return {"add": ADD, "sub": "subtraction", "mul": "multiplication", "div": "division"}[short], {}
    if short == "cat":
        return CONCAT, {"axis": op.arguments["dim"] % len(out)}
    if short == "constant_pad_nd":
        return _padding(op, out)
    if short == "slice":
        taken = {"axis": op.arguments["dim"], "from": op.arguments["start"] or 0}
        step = op.arguments["step"]
        return ("cropping", taken) if step == 1 else ("subsampling", {**taken, "step": step})
    if short.startswith(("upsample", "_upsample")):
        scale = tuple(b / a for a, b in zip(values[op.inputs[0]].shape[2:], out[2:], strict=True))
        return f"{short.strip('_').split('_')[1].rstrip('123d')} upsampling", {"scale": scale}
    if short in _ACTIVATIONS:
        return f"activation {_ACTIVATIONS[short]}", {}
    if short in {"subsample", "rbf", "highway", "max_unpool"}:
        words = {"kernel": op.form.window.kernel, "stride": op.form.window.stride} if short == "subsample" else {}
        return {"rbf": "RBF units", "subsample": "trainable subsampling", "max_unpool": "unpooling"}.get(
            short, short
        ), words
    if op.pointwise:
        return f"function {short}", {}
    return short.strip("_").replace("_", " "), {}


def _convolution(op: Operation, values: list[Any], out: tuple[int, ...]) -> tuple[str, Settings]:
    if op.form is None:
        arguments = op.arguments
        kernel = values[arguments["weight"].value].shape[2:]
        axes = len(kernel)
        kind = CONV_TRANSPOSE if arguments["transposed"] else CONV
        words: Settings = {
            "kernel": tuple(kernel),
            "stride": _per_axis(arguments["stride"], axes),
            "padding": tuple((p, p) for p in _per_axis(arguments["padding"], axes)),
            "dilation": _per_axis(arguments["dilation"], axes),
            "groups": arguments["groups"],
            "bias": isinstance(arguments["bias"], Ref),
        }
    else:
        window, short = op.form.window, op.name.removeprefix("striate.")
        kind = {"conv": CONV, "conv_transpose": CONV_TRANSPOSE, "deform_conv": DEFORM}[short]
        bias = 3 if kind == DEFORM else 2
        words = {
            "kernel": window.kernel,
            "stride": window.stride,
            "padding": window.padding,
            "dilation": window.dilation,
            "groups": op.form.groups,
            "bias": isinstance(op.arguments["operands"][bias], Ref),
        }
        if kind == CONV and any(step != 1 for step in window.upsample):
            words["upsample"] = window.upsample
        if getattr(op.form, "links", None) is not None:
            words["links"] = sum(map(sum, op.form.links))
    if kind == CONV_TRANSPOSE:
        words["padding"] = None  # what is cropped follows from the sizes
        words["size"] = out[2:]
    return kind, {"maps": out[1], **{word: value for word, value in words.items() if value is not None}}


def _pooling(op: Operation, short: str, values: list[Any], out: tuple[int, ...]) -> tuple[str, Settings]:
    shape = values[op.inputs[0]].shape
    size, outputs = shape[2:], out[2:]
    kind = MAX if "max" in short else MEAN
    if "adaptive" in short:
        if kind == MEAN and all(n == 1 for n in outputs):
            return GLOBAL, {}
        return f"adaptive {kind}", {"size": tuple(outputs)}
    axes = len(size)
    if op.form is not None:
        window = op.form.window
        kernel, stride, padding, dilation = window.kernel, window.stride, window.padding, window.dilation
        counted = getattr(op.form, "count_padding", False)
    else:
        kernel = _per_axis(op.arguments["kernel_size"], axes)
        stride = _per_axis(op.arguments.get("stride") or kernel, axes)
        padding = tuple((p, p) for p in _per_axis(op.arguments.get("padding") or [0], axes))
        dilation = _per_axis(op.arguments.get("dilation") or [1], axes)
        counted = bool(op.arguments.get("count_include_pad"))
    if kind == MEAN and tuple(kernel) == tuple(size) and all(n == 1 for n in outputs):
        return GLOBAL, {}
    over = tuple(
        max(0, (o - 1) * s + (k - 1) * d + 1 - n - sum(p))
        for o, s, k, d, n, p in zip(outputs, stride, kernel, dilation, size, padding, strict=True)
    )
    words: Settings = {"kernel": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding)}
    words["last window hangs over by"] = over if any(over) else 0
    if any(d != 1 for d in dilation):
        words["dilation"] = tuple(dilation)
    if kind == MEAN and any(map(any, padding)):
        words["padding counted"] = counted
    return kind, words


def _mean(op: Operation, values: list[Any]) -> tuple[str, Settings]:
    axes = {axis % 4 for axis in (op.arguments.get("dim") or range(4))}
    return (GLOBAL, {}) if axes == {2, 3} else ("mean", {"axes": tuple(sorted(axes))})


def _padding(op: Operation, out: tuple[int, ...]) -> tuple[str, Settings]:
    pads = [tuple(op.arguments["pad"][i : i + 2]) for i in range(0, len(op.arguments["pad"]), 2)]
    pads += [(0, 0)] * (len(out) - len(pads))
    *spatial, channels, _ = pads  # the last axis comes first
    if any(channels):
        return "maps of zeros", {"number": (channels,)}
    return PADDING, {"size": tuple(reversed(spatial))}


def _changes_nothing(op: Operation, values: list[Any]) -> bool:
    """Whether the operation takes the whole, pads by nothing or concatenates a single tensor."""
    if op.name in {"aten.slice", "aten.constant_pad_nd"}:
        return bool(values[op.inputs[0]].shape == values[op.outputs[0]].shape)
    return op.name == "aten.cat" and len(op.inputs) == 1


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    numbers = [value] if isinstance(value, int) else list(value)
    return tuple(numbers * axes if len(numbers) == 1 else numbers)
