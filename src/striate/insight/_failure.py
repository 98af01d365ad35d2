"""Why a forward pass stopped, in a sentence for the user."""

from math import prod
from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.insight._trace import Call, Trace


def explain(module: nn.Module, record: Trace) -> tuple[str, bool]:
    """Return what stopped a trace, and whether the sentence is sure, so that another try would end the same way."""
    if record.error is None:
        return "", False
    error = " ".join(str(record.error).split()) or type(record.error).__name__
    if record.failed < 0:
        return error, isinstance(record.error, InputError)
    call = record.calls[record.failed]
    where = f"{call.path or 'the network'} ({call.kind})"
    reason = _reason(module.get_submodule(call.path), call)
    if reason:
        return f"{where}: {reason}", True
    sure = isinstance(record.error, InputError)
    sizes = ", ".join(_times(shape) for shape in call.input_shapes)
    got = f" with the input {sizes}" if sizes and not sure else ""
    return f"{where}{got}: {error if len(error) < 300 else error[:300] + ' ...'}", sure


def _reason(part: Any, call: Call) -> str:
    """Return what does not fit between a layer and its input, "" if that is not plain to see."""
    if not call.input_shapes:
        return ""
    shape, dtype = call.input_shapes[0], call.input_dtypes[0]
    weight = getattr(part, "weight", None)
    if isinstance(weight, torch.Tensor) and not isinstance(part, nn.Embedding) and weight.dtype != dtype:
        return f"the input is {_name(dtype)}, the weights are {_name(weight.dtype)}; convert one with .to()"
    if isinstance(part, nn.Linear) and shape[-1] != part.in_features:
        return _linear(shape, part.in_features)
    channels = getattr(part, "in_channels", getattr(part, "num_features", getattr(part, "num_channels", None)))
    if isinstance(channels, int) and len(shape) > 2 and shape[1] != channels:
        return (
            f"the layer takes {channels} channels, its input {_times(shape)} has {shape[1]}; "
            "the layer before must give as many maps, or the image has other channels than the network was built for"
        )
    return _too_small(part, shape)


def _linear(shape: tuple[int, ...], features: int) -> str:
    sentence = f"the dense layer takes {features} features, its input {_times(shape)} has {shape[-1]}"
    if len(shape) > 2:
        return sentence + (
            "; flatten it first (nn.Flatten)"
            if prod(shape[1:]) == features
            else "; flatten it, or pool it to a fixed size"
        )
    return sentence + (
        "; the network was made for another image size: use that one, or pool to a fixed size first (AdaptiveAvgPool2d)"
    )


def _too_small(part: Any, shape: tuple[int, ...]) -> str:
    kernel = getattr(part, "kernel_size", getattr(part, "kernel", None))
    padding = getattr(part, "padding", 0)
    if kernel is None or getattr(part, "transposed", False) or isinstance(padding, str):
        return ""
    axes = len(shape) - 2
    try:
        kernels = _per_axis(kernel, axes)
        pads = _per_axis(padding, axes)
        dilations = _per_axis(getattr(part, "dilation", 1), axes)
    except TypeError:
        return ""
    needed = [(m - 1) * d + 1 - 2 * p for m, d, p in zip(kernels, dilations, pads, strict=True)]
    if all(n >= least for n, least in zip(shape[2:], needed, strict=True)):
        return ""
    return (
        f"a window of {_times(tuple(kernels))} does not fit into its input {_times(shape[2:])}: at this layer it must "
        f"be at least {_times(tuple(max(n, 1) for n in needed))}; the image is too small for the network"
    )


def _per_axis(value: Any, axes: int) -> list[int]:
    entries = [value] * axes if isinstance(value, int) else list(value)
    if len(entries) != axes or not all(isinstance(entry, int) for entry in entries):
        raise TypeError
    return entries


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
