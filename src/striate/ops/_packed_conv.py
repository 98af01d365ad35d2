"""Convolution with weights that stay: packed once, with what follows it fused; for prediction, not for training."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from striate.ops._conv import ConvForm, conv, normal_form
from striate.ops.impl.native import conv as native
from striate.ops.impl.native import winograd


@dataclass(eq=False)
class PackedConv:
    """`ops.conv` with fixed weights: call it with images N x D x H x W on the CPU; no gradients.

    w, b (float32) and `words` (stride, padding, dilation, upsample, groups, flip) are `ops.conv`'s; `relu` sets what is
    negative to zero. precision: "bf16" computes on images of bfloat16, to which others are rounded, with products of
    bfloat16; the others in float32, "high" 3 x 3 kernels of stride 1 with enough channels by Striate's Winograd kernel.
    What is left is computed by oneDNN with weights in its own layout, what that cannot, by `ops.conv`. Calling raises
    InputError.
    """

    w: Tensor
    b: Tensor | None
    words: dict[str, Any] = field(default_factory=dict)
    relu: bool = False
    precision: Literal["exact", "high", "bf16"] = "high"
    _winograd: winograd.Packed | None = field(init=False, default=None)
    _onednn: Tensor | None = field(init=False, default=None)
    _packed: bool = field(init=False, default=False)

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return N x P x outputs, channels last; `other`, of that shape, is added before the ReLU."""
        form = normal_form(x, self.w, self.b, **self.words)[0]
        x = x if self.precision != "bf16" else x.bfloat16()
        if not self._packed and len(x):
            self._pack(form, x)
        if self._winograd is not None:
            (top, bottom), (left, right) = form.window.padding
            other = None if other is None else other.contiguous(memory_format=torch.channels_last)
            return winograd.conv(x, self._winograd, self.b, (top, bottom, left, right), other=other, relu=self.relu)
        if self._onednn is not None and form.window.symmetric_padding is not None and len(x):
            return self._by_onednn(form, x, other)
        y = conv(x, self.w.to(x.dtype), None if self.b is None else self.b.to(x.dtype), **self.words)
        y = y if other is None else y + other
        return y.relu_() if self.relu else y

    def _by_onednn(self, form: ConvForm, x: Tensor, other: Tensor | None) -> Tensor:
        window, compute = form.window, torch.ops.mkldnn._convolution_pointwise
        x = x.contiguous(memory_format=torch.channels_last)
        bias = None if self.b is None else self.b.to(x.dtype)
        settings = (self._onednn, bias, window.symmetric_padding, window.stride, window.dilation, form.groups)
        if other is None:
            y: Tensor = compute(x, *settings, "relu" if self.relu else "none", [], "")
        else:
            other = other.contiguous(memory_format=torch.channels_last)
            y = compute.binary(x, other, *settings, "add", None, "relu" if self.relu else None, [], None)
        return y

    def _pack(self, form: ConvForm, x: Tensor) -> None:
        """Bring the weights into the layout of whoever will compute; the size of images does not matter for that."""
        last = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
        if self.precision == "high" and native.supports(form, last, self.w, self.b) is None:
            self._winograd = winograd.pack(self.w, form.groups, native.TILE)
        elif _onednn_computes(form, x):
            settings = (form.window.symmetric_padding, form.window.stride, form.window.dilation, form.groups)
            weight = self.w.to(x.dtype).contiguous()
            self._onednn = torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, x.shape)
        self._packed = True


def _onednn_computes(form: ConvForm, x: Tensor) -> bool:
    plain = form.links is None and not form.flip and not form.window.upsamples
    built = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if not (built and plain and x.ndim == 4 and x.device.type == "cpu" and form.window.symmetric_padding is not None):
        return False
    return x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
