"""The dense layer with weights that stay: packed once, with what follows it fused; for prediction, not for training."""

from typing import Literal

import torch
from torch import Tensor

from striate.errors import InputError
from striate.geometry import Window
from striate.ops.impl.native import direct_conv

_PIXEL = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1))


class PackedLinear:
    """`ops.linear` with fixed weights: call it with N x inputs (or any leading axes) on the CPU; no gradients.

    w (outputs x inputs) and b (outputs) are of float32; `relu` sets what is negative to zero. precision: "bf16"
    computes on bfloat16, to which inputs are rounded, the other words in float32. Raises InputError for other shapes,
    here and when it is called.
    """

    def __init__(
        self,
        w: Tensor,
        b: Tensor | None = None,
        *,
        relu: bool = False,
        precision: Literal["exact", "high", "bf16"] = "high",
    ) -> None:
        """Pack the weights: the layer keeps no others."""
        if w.ndim != 2 or (b is not None and b.shape != w.shape[:1]):
            shapes = f"{tuple(w.shape)} and {None if b is None else tuple(b.shape)}"
            raise InputError(f"PackedLinear: w must be outputs x inputs and b outputs or None, got {shapes}")
        b = None if b is None else b.contiguous()  # kernels, oneDNN's too, read it from memory
        self.relu = relu
        self._inputs = w.shape[1]
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._packed: direct_conv.Packed | None = None
        self._last: tuple[int, direct_conv.Plan] | None = None  # rows that came last, how they are computed
        if direct_conv.multiplies_fastest(self._dtype) and w.is_cpu and w.numel():
            self._packed = direct_conv.pack(w[:, :, None, None], 1, self._dtype)
            self.weight, self._bias = self._packed.groups[0], b
        else:
            self.weight, self._bias = w.to(self._dtype).contiguous(), None if b is None else b.to(self._dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Return N x outputs."""
        if not x.ndim or x.shape[-1] != self._inputs:
            raise InputError(f"PackedLinear: x must be N x {self._inputs}, got {tuple(x.shape)}")
        x = x.to(self._dtype)
        if self._packed is None:
            return self._by_pytorch(x)
        rows, last = x.reshape(-1, self._inputs, 1, 1), self._last
        if last is None or last[0] != len(rows):
            self._last = last = (len(rows), direct_conv.Plan(self._packed, rows.shape, x.dtype, _PIXEL))
        return last[1](rows, self._bias, relu=self.relu).view(*x.shape[:-1], self._packed.out_channels)

    def _by_pytorch(self, x: Tensor) -> Tensor:
        built = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        if not x.numel() or not built or x.dtype != torch.float32:  # in bfloat16 PyTorch itself calls oneDNN
            y = torch.nn.functional.linear(x, self.weight, self._bias)
            return y.relu_() if self.relu else y
        after = "relu" if self.relu else "none"
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), self.weight, self._bias, after, [], "")
        return fused
