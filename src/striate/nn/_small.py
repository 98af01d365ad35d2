"""Small networks of usual layers, computed as one.

A chain of layers is turned into the stages of `ops.impl.native.small`, which computes a block of images through all of
them at once. What a network is made of is asked of its modules; what is not known is said in words.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.geometry import Window, make_window, output_size
from striate.nn._activation import ScaledTanh
from striate.nn._conv import Conv
from striate.nn._linear import Linear
from striate.nn._pool import AvgPool, MaxPool, Subsample
from striate.nn._rbf import RBF, Negative
from striate.ops.impl.native.small import SmallNetwork
from striate.ops.impl.native.small_layout import Size, Stage

# values and gradients of one picture; measured: 1.2 to 4 times as fast below, slower from 900 on
MOST_KIB = 320


@runtime_checkable
class Sequenced(Protocol):
    """A network that is nothing but modules after each other, each taking the output of the one before."""

    def sequence(self) -> list[nn.Module]:
        """Return these modules, in their order."""
        ...


class Fused:
    """A small network computed by one native call each way; everything else about it stays the model's.

    Parameters, their gradients and the outputs are the model's, to rounding. What cannot be computed so (a GPU,
    another image size, autocast, torch.compile, modules with hooks, a model that has been put into another mode or has
    other modules or parameters by now) the model computes itself. Raises InputError, with the reason, if the model is
    no chain of known layers.
    """

    def __init__(self, model: nn.Module, size: Size) -> None:
        self.model, self.size = model, size
        self.training = model.training
        self.modules = tuple(model.modules())
        self.tensors = [
            (held, name, tensor)
            for m in self.modules
            for held in (m._parameters, m._buffers)
            for name, tensor in held.items()
        ]
        stages, flat = _stages(model, size)
        self.network = SmallNetwork(size, stages, flat, model)

    def supports(self, x: Tensor) -> str | None:
        """Return None, or why the model computes this batch itself."""
        if any(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks for module in self.modules):
            return "modules with hooks"
        if tuple(self.model.modules()) != self.modules or any(h.get(name) is not t for h, name, t in self.tensors):
            return "modules or parameters that were replaced since it was made"
        if self.model.training != self.training:
            return "another mode, training or evaluation, than it was made in"
        return self.network.supports(x)

    def pays(self) -> str | None:
        """Return None where a training step is known to be faster than layer by layer, else why not."""
        layout = self.network.layout(1)
        kib = (layout.values + layout.grads) // 256
        if kib > MOST_KIB:
            return f"a picture's values and gradients take {kib} KiB, more than {MOST_KIB}: blocks leave the cache"
        stages = self.network.stages
        work = {"conv": 0, "dense": 0}
        for stage in stages:
            if stage.kind in work and stage.weight is not None:
                work[stage.kind] += stage.weight.numel() * prod(stage.size[1:])
        return None if work["conv"] > work["dense"] else "its dense layers multiply more than its convolutions"

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the model returns."""
        y: Tensor = self.model(x) if self.supports(x) else self.network(x)
        return y


def fused(model: nn.Module, size: tuple[int, ...]) -> Fused | str:
    """Return a model made for images of this size (C, H, W) if that is known to pay, else why not."""
    if len(size) != 3:
        return f"inputs of {' x '.join(map(str, size))}, not images"
    try:
        made = Fused(model, size)
    except InputError as error:
        return str(error)
    return made.pays() or made


def _stages(model: nn.Module, size: Size) -> tuple[list[Stage], bool]:
    """Return the stages of a model, and whether its outputs are flat."""
    stages: list[Stage] = []
    at, flat = size, False
    for module in _leaves(model):
        if isinstance(module, nn.Flatten):
            if (module.start_dim, module.end_dim) != (1, -1):
                raise _unknown(module, "it flattens other axes than those after the batch")
            flat = True
        elif (activation := _activation(module)) is not None:
            if not stages or stages[-1].activation != "linear" or stages[-1].amplitude != 1.0:
                stages.append(Stage("same", at))
            stages[-1] = replace(stages[-1], **activation)
        elif not _idle(module):
            stage = _layer(module, at, flat)
            stages.append(stage)
            at, flat = stage.size, flat or isinstance(module, nn.Linear | RBF)
    if not any(stage.weight is not None for stage in stages):
        raise InputError("a network without parameters")
    following = [*stages[1:], None]
    inputs = [size, *(stage.size for stage in stages)]
    return [_dense_if_whole(*three) for three in zip(stages, inputs, following, strict=False)], flat


def _dense_if_whole(stage: Stage, size: Size, after: Stage | None) -> Stage:
    """Return a convolution whose kernel covers its input as a dense layer, where no borders are to be left after it."""
    window = stage.window
    if stage.kind != "conv" or window is None or stage.links is not None or stage.groups != 1:
        return stage
    whole = window.kernel == size[1:] and set(window.dilation) == {1} and window.symmetric_padding == (0, 0)
    borders = after is not None and after.kind == "conv" and after.window and after.window.symmetric_padding != (0, 0)
    return replace(stage, kind="dense") if whole and not borders else stage


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Give the modules of a chain in their order."""
    if type(module) is nn.Sequential:
        parts = list(module)
    elif isinstance(module, Sequenced):
        parts = module.sequence()
    else:
        yield module
        return
    for part in parts:
        yield from _leaves(part)


def _activation(module: nn.Module) -> dict[str, Any] | None:
    """Return what an activation sets in a stage, None for other modules."""
    if type(module) is ScaledTanh:
        if not module.amplitude:
            raise _unknown(module, "its amplitude is 0")
        return {"activation": "tanh", "amplitude": module.amplitude, "slope": module.slope}
    if type(module) is Negative:
        return {"amplitude": -1.0}
    name = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}.get(type(module))
    return {"activation": name} if name else None


def _idle(module: nn.Module) -> bool:
    if isinstance(module, nn.Dropout | nn.Dropout2d):
        return not module.training or module.p == 0
    return type(module) is nn.Identity


def _layer(module: nn.Module, size: Size, flat: bool) -> Stage:
    """Return the stage of a layer that takes inputs of `size`."""
    kind = type(module)
    if kind in {nn.Linear, Linear, RBF}:
        if not flat:
            raise _unknown(module, f"its input {size} has not been flattened")
        return _dense(cast("nn.Linear | RBF", module), prod(size))
    if flat:
        raise _unknown(module, "its input is flat")
    if kind in {Conv, nn.Conv2d}:
        return _conv(cast("Conv | nn.Conv2d", module), size)
    if kind is Subsample:
        return _subsample(cast("Subsample", module), size)
    if kind in {MaxPool, nn.MaxPool2d, AvgPool, nn.AvgPool2d, nn.AdaptiveAvgPool2d}:
        return _pool(module, size)
    raise _unknown(module, "such a layer is not known")


def _dense(module: nn.Linear | RBF, inputs: int) -> Stage:
    if isinstance(module, RBF):
        if isinstance(module.centres, nn.Parameter):
            raise _unknown(module, "its centres are trained")
        stage = Stage("rbf", (len(module.centres), 1, 1), weight=module.centres)
    else:
        stage = Stage("dense", (module.out_features, 1, 1), weight=module.weight, bias=module.bias)
    assert stage.weight is not None
    if stage.weight.shape[1] != inputs:
        raise _unknown(module, f"it has {inputs} inputs")
    return stage


def _conv(module: Conv | nn.Conv2d, size: Size) -> Stage:
    if isinstance(module, Conv):
        kernel, flip, links = module.kernel, module.flip, module._rows
    else:
        kernel, flip, links = module.kernel_size, module.padding_mode != "zeros", None
    if len(kernel) != 2 or flip or set(_pair(getattr(module, "upsample", 1))) != {1}:
        raise _unknown(module, "only two axes, no flipped kernel, no upsampling and no padding but with zeros")
    if module.in_channels != size[0]:
        raise _unknown(module, f"its input has {size[0]} channels")
    window, out = _window(module, size, kernel, stride=module.stride, padding=module.padding, dilation=module.dilation)
    reach = [extent - 1 for extent in window.effective_kernel]
    if any(not 0 <= end <= most for pair, most in zip(window.padding, reach, strict=True) for end in pair):
        raise _unknown(module, "its padding is negative or wider than the kernel reaches")
    return Stage(
        "conv",
        (module.out_channels, *out),
        window=window,
        links=links,
        groups=module.groups,
        weight=module.weight,
        bias=module.bias,
    )


def _subsample(module: Subsample, size: Size) -> Stage:
    if module.channels != size[0]:
        raise _unknown(module, f"its input has {size[0]} channels")
    window, out = _window(module, size, module.kernel, stride=module.stride or module.kernel)
    mean = module.reduce == "mean"
    return Stage("subsample", (size[0], *out), window=window, mean=mean, weight=module.weight, bias=module.bias)


def _pool(module: nn.Module, size: Size) -> Stage:
    maximum = isinstance(module, MaxPool | nn.MaxPool2d)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        if set(_pair(module.output_size)) != {1}:
            raise _unknown(module, "it averages to more than one number a channel")
        window, out = _window(module, size, size[1:])
    else:
        found = {name: getattr(module, name, None) for name in ("kernel", "kernel_size", "stride", "padding")}
        kernel = found["kernel_size"] if found["kernel"] is None else found["kernel"]
        ceil = bool(getattr(module, "ceil", False) or getattr(module, "ceil_mode", False))
        words: dict[str, Any] = {"stride": found["stride"] or kernel, "padding": found["padding"]}
        window, out = _window(module, size, kernel, ceil=ceil, **words)
        odd = ("return_switches", "return_indices", "divisor_override")
        counted = getattr(module, "count_padding", False) or getattr(module, "count_include_pad", False)
        if any(getattr(module, name, None) for name in odd) or set(_pair(getattr(module, "dilation", 1))) != {1}:
            raise _unknown(module, "no switches, dilation or divisor of its own")
        if counted and window.symmetric_padding != (0, 0):
            raise _unknown(module, "it counts the padding")
        if any(low < 0 or low >= k for (low, _), k in zip(window.padding, window.kernel, strict=True)):
            raise _unknown(module, "its windows do not all begin in the map")
    return Stage("max pool" if maximum else "avg pool", (size[0], *out), window=window, mean=True)


def _window(
    module: nn.Module, size: Size, kernel: Any, *, ceil: bool = False, **words: Any
) -> tuple[Window, tuple[int, int]]:
    try:
        window = make_window(2, kernel, size=size[1:], **words)
        return window, cast("tuple[int, int]", output_size(size[1:], window, ceil=ceil))
    except InputError as error:
        raise _unknown(module, str(error)) from None


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list | torch.Size) else (value, value)


def _unknown(module: nn.Module, reason: str) -> InputError:
    return InputError(f"{type(module).__name__}({module.extra_repr()}): {reason}")
