"""Convolution with weights that stay: packed once, with what follows it fused; for prediction, not for training."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from striate.errors import InputError
from striate.geometry import output_size
from striate.ops._conv import ConvForm, conv, normal_form
from striate.ops.impl.native import conv as native
from striate.ops.impl.native import direct_conv, winograd

# In fewer, reading transformed weights, two and a half to four times as many, takes as long as the products that are
# saved: one picture of 7 x 7. Measured in whole networks, whose weights are in no cache.
_FEWEST_POSITIONS = 150


@dataclass(eq=False)
class PackedConv:
    """`ops.conv` with fixed weights: call it with images N x D x H x W on the CPU; no gradients.

    w, b (float32) and `words` (stride, padding, dilation, upsample, groups, flip) are `ops.conv`'s; `relu` sets what is
    negative to zero. precision: "bf16" computes on images of bfloat16, to which others are rounded, the other words in
    float32.

    3 x 3 kernels of stride 1 with enough channels may be computed by Winograd's minimal filtering: with products of
    float32 in tiles of 4 x 4 ("f32"), or of bfloat16 in tiles of "2x2", "4x2" or "4x4", each faster and less accurate
    than the one before. `way` is one of these, "direct" for none, or "auto": none for "exact", "f32" for "high", for
    "bf16" what is fastest on the processor at about plain bfloat16's error ("4x2" with AVX512_BF16, none with AMX, else
    "f32"), from the first batch with enough outputs on. What is left is computed by Striate's direct kernels where they
    are faster than oneDNN, by oneDNN with weights in its own layout, or, what neither can, by `ops.conv`. The way
    "onednn" leaves all of Striate's kernels out.

    Calling raises InputError for other shapes, and if the way cannot be gone.
    """

    w: Tensor
    b: Tensor | None
    words: dict[str, Any] = field(default_factory=dict)
    relu: bool = False
    precision: Literal["exact", "high", "bf16"] = "high"
    way: native.Way | Literal["auto", "direct", "onednn"] = "auto"
    _like: Tensor = field(init=False)  # the weights in the type of the images: for checks, oneDNN and what is left
    _bias: Tensor | None = field(init=False)
    # the shape of the images that came last, what is computed of such and how: in one, for threads may see them change
    _last: tuple[torch.Size, ConvForm, winograd.Plan | direct_conv.Plan | None] | None = field(init=False, default=None)
    _packed: winograd.Packed | direct_conv.Packed | Tensor | None = field(init=False, default=None)  # Tensor: oneDNN's
    _ready: bool = field(init=False, default=False)
    _waits: bool = field(init=False, default=False)  # for a batch that is large enough for Winograd

    def __post_init__(self) -> None:
        self._like = self.w.bfloat16() if self.precision == "bf16" else self.w
        self.b = None if self.b is None else self.b.contiguous()  # kernels read it from memory
        self._bias = None if self.b is None else self.b.to(self._like.dtype)

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return N x P x outputs, channels last; `other`, of that shape, is added before the ReLU."""
        x = x.bfloat16() if self.precision == "bf16" else x
        last = self._last
        if last is None or x.shape != last[0] or x.dtype != self._like.dtype or not x.is_cpu:
            last = self._prepare(x)
        _, form, plan = last
        if plan is not None:
            return plan(x, self.b, _like(x, other, plan.size), relu=self.relu)
        if isinstance(self._packed, Tensor) and form.window.symmetric_padding is not None and len(x):
            return self._by_onednn(self._packed, form, x, other)
        y = conv(x, self._like, self._bias, **self.words)
        if other is not None:
            y = y + _of_size(other, y.shape)
        return y.relu_() if self.relu else y

    @property
    def computed_by(self) -> Literal["winograd", "direct", "onednn", "operator"]:
        """Who computes images like those that came last: Striate's kernels in either way, oneDNN, or `ops.conv`."""
        plan = None if self._last is None else self._last[2]
        if plan is not None:
            return "winograd" if isinstance(plan, winograd.Plan) else "direct"
        return "operator" if self._packed is None else "onednn"

    def _prepare(self, x: Tensor) -> tuple[torch.Size, ConvForm, winograd.Plan | direct_conv.Plan | None]:
        """Check images of a shape that did not come last and pack the weights if it is time; return `_last`."""
        form = normal_form(x, self._like, self._bias, **self.words)[0]
        if len(x) and (not self._ready or (self._waits and _positions(form, x) >= _FEWEST_POSITIONS)):
            self._pack(form, x)
        plan: winograd.Plan | direct_conv.Plan | None = None
        if isinstance(self._packed, winograd.Packed):
            (top, bottom), (left, right) = form.window.padding
            plan = winograd.Plan(self._packed, x.shape, x.dtype, (top, bottom, left, right))
        elif isinstance(self._packed, direct_conv.Packed):
            plan = direct_conv.Plan(self._packed, x.shape, x.dtype, form.window)
        self._last = last = (x.shape, form, plan)
        return last

    def _by_onednn(self, packed: Tensor, form: ConvForm, x: Tensor, other: Tensor | None) -> Tensor:
        window, compute = form.window, torch.ops.mkldnn._convolution_pointwise
        x = x.contiguous(memory_format=torch.channels_last)
        settings = (packed, self._bias, window.symmetric_padding, window.stride, window.dilation, form.groups)
        if other is None:
            y: Tensor = compute(x, *settings, "relu" if self.relu else "none", [], "")
        else:
            other = _like(x, other, (len(x), self.w.shape[0], *output_size(x.shape[2:], window)))
            y = compute.binary(x, other, *settings, "add", None, "relu" if self.relu else None, [], None)
        return y

    def _pack(self, form: ConvForm, x: Tensor) -> None:
        """Bring the weights into the layout of whoever will compute."""
        way = self._way(form, x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x)
        directly = self.way != "onednn" and direct_conv.pays(form, x, self._like)
        few = self.way == "auto" and _positions(form, x) < _FEWEST_POSITIONS
        self._waits = way is not None and few and (directly or _onednn_computes(form, x))
        if way is not None and not self._waits:
            self._packed = _transformed(self.w, form.groups, way)
        elif directly:
            self._packed = direct_conv.pack(self.w, form.groups, x.dtype)
        elif _onednn_computes(form, x):
            settings = (form.window.symmetric_padding, form.window.stride, form.window.dilation, form.groups)
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(self._like.contiguous(), *settings, x.shape)
        self._ready = True

    def _way(self, form: ConvForm, x: Tensor) -> native.Way | None:
        """Return Winograd's way that was asked for, or the best one; None for none."""
        match self.way:
            case "direct" | "onednn":
                return None
            case "auto":
                fastest: dict[str, native.Way | None] = {"exact": None, "high": "f32", "bf16": native.fastest_in_bf16()}
                way = fastest[self.precision]
                return None if way is None or native.packs(form, x, self.w, self.b, way) is not None else way
            case asked:
                if (reason := native.packs(form, x, self.w, self.b, asked)) is not None:
                    raise InputError(f"PackedConv: way={asked!r} was asked for and does not support {reason}")
                return asked


def _of_size(other: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return what is added to outputs of a size; raises InputError if it has another."""
    if other.shape != size:
        raise InputError(
            f"PackedConv: `other` must have the shape of the outputs, {tuple(size)}, got {tuple(other.shape)}"
        )
    return other


def _like(x: Tensor, other: Tensor | None, size: tuple[int, ...]) -> Tensor | None:
    """Return what is added, in the type and the layout of x."""
    return None if other is None else _of_size(other, size).to(x.dtype).contiguous(memory_format=torch.channels_last)


def _transformed(w: Tensor, groups: int, way: native.Way) -> winograd.Packed:
    if way == "f32":
        return winograd.pack(w, groups, native.TILE)
    down, across = way.split("x")
    return winograd.pack_bf16(w, groups, (int(down), int(across)))


def _positions(form: ConvForm, x: Tensor) -> int:
    """Return how many outputs a channel has in the batch."""
    return len(x) * math.prod(output_size(x.shape[2:], form.window))


def _onednn_computes(form: ConvForm, x: Tensor) -> bool:
    plain = form.links is None and not form.flip and not form.window.upsamples
    built = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if not (built and plain and x.ndim == 4 and x.device.type == "cpu" and form.window.symmetric_padding is not None):
        return False
    return x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
