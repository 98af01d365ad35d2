"""The same network, made ready to predict: batch normalisation folded, weights packed once, activations fused.

`prepare` looks for what follows each other in an `nn.Sequential`: convolution, batch normalisation and ReLU become one
module, dense layer and ReLU another, and dropout goes. The addition and the ReLU at the end of a residual block go into
its last convolution. All other modules run as they are; where the rest is of bfloat16, as PyTorch's autocast has them
compute, which is how networks are trained so.
"""

import copy

import torch
from torch import Tensor, nn

from striate import ops
from striate.errors import InputError
from striate.models.resnet import Residual
from striate.nn import Conv, ConvTranspose, LocalResponseNorm
from striate.runtime import PRECISIONS, Precision


def prepare(model: nn.Module, precision: Precision = "high") -> nn.Module:
    """Return a copy that computes the same logits faster: on the CPU, evaluation only, no gradients.

    precision: "high": float32, the logits agree to rounding. "exact": so without any Winograd convolution. "bf16":
    products, and images between layers, of bfloat16; images given and logits returned are float32. The model given
    stays as it is. Raises InputError for another precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"prepare: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    ready = copy.deepcopy(model).eval().requires_grad_(False)
    ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parent in list(ready.modules()):
        if isinstance(parent, nn.Sequential) and type(parent).forward is nn.Sequential.forward:
            _fuse(parent, precision)
    for parent in list(ready.modules()):  # what stands alone
        for name, child in list(parent.named_children()):
            if (prepared := _alone(child, precision)) is not None:
                parent._modules[name] = prepared
            elif isinstance(child, Residual) and _ends_in_convolution(child.branch):
                parent._modules[name] = PreparedResidual(child)
    return InBfloat16(ready) if precision == "bf16" else ready


class InBfloat16(nn.Module):
    """A network whose layers compute in bfloat16 where they can, with float32 logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        with torch.autocast("cpu", torch.bfloat16), ops.prefer(max_pool="native"):  # what was not packed
            logits: Tensor = self.network(x)
        return logits.float()


class InFloat32(nn.Module):
    """A layer that bfloat16 does not suit: its input is widened, its output rounded."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output in the type of its input."""
        y: Tensor = self.layer(x.float())
        return y.to(x.dtype)


class PreparedConv(nn.Module):
    """A convolution, with the batch normalisation and the ReLU that follow it: N x D x H x W to N x P x outputs."""

    def __init__(self, conv: Conv, norm: nn.BatchNorm2d | None, *, relu: bool, precision: Precision) -> None:
        super().__init__()
        weight, bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        if norm is not None:
            weight, bias = _folded(weight, bias, norm)
        words = ("stride", "padding", "dilation", "upsample", "groups", "flip")
        self.weight = nn.Parameter(weight, requires_grad=False)  # kept by its name for those who ask where a network is
        self.packed = ops.PackedConv(weight, bias, {word: getattr(conv, word) for word in words}, relu, precision)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the outputs, channels last; `other` is added to them before the ReLU."""
        return self.packed(x, other)


class PreparedResidual(nn.Module):
    """A residual block relu(F(x) + shortcut(x)) whose sum is made where F's last convolution stores its outputs."""

    def __init__(self, block: Residual) -> None:
        super().__init__()
        kept = [module for module in block.branch.children() if not isinstance(module, nn.Identity)]
        self.first, self.last, self.shortcut = nn.Sequential(*kept[:-1]), kept[-1], block.shortcut
        if isinstance(self.last, PreparedConv):
            self.last.packed.relu = True

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y: Tensor = self.last(self.first(x), self.shortcut(x))
        return y


class PreparedLinear(nn.Module):
    """A dense layer and the ReLU after it: N x inputs to N x outputs."""

    def __init__(self, linear: nn.Linear, *, relu: bool, precision: Precision) -> None:
        super().__init__()
        bias = None if linear.bias is None else linear.bias.detach()
        self.packed = ops.PackedLinear(linear.weight.detach(), bias, relu=relu, precision=precision)
        self.weight = nn.Parameter(self.packed.weight, requires_grad=False)  # for those who ask where a network is

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        return self.packed(x)


def _fuse(parent: nn.Sequential, precision: Precision) -> None:
    """Replace what follows each other by one module; the others become identities, so that names stay."""
    children = list(parent.named_children())
    for at, (name, child) in enumerate(children):
        rest = [module for _, module in children[at + 1 : at + 3]]
        norm = rest[0] if _packs(child) and rest and isinstance(rest[0], nn.BatchNorm2d) else None
        if norm is not None and norm.running_mean is not None:
            rest.pop(0)
        else:
            norm = None
        relu = bool(rest) and type(rest[0]) is nn.ReLU
        if isinstance(child, Conv) and _packs(child):
            parent._modules[name] = PreparedConv(child, norm, relu=relu, precision=precision)
        elif isinstance(child, nn.Linear) and relu:
            parent._modules[name] = PreparedLinear(child, relu=True, precision=precision)
        else:
            continue
        for used, _ in children[at + 1 : at + 1 + (norm is not None) + relu]:
            parent._modules[used] = nn.Identity()


def _ends_in_convolution(branch: nn.Module) -> bool:
    kept = [module for module in branch.children() if not isinstance(module, nn.Identity)]
    return (
        isinstance(branch, nn.Sequential)
        and bool(kept)
        and isinstance(kept[-1], PreparedConv)
        and not kept[-1].packed.relu
    )


def _alone(module: nn.Module, precision: Precision) -> nn.Module | None:
    """Return what takes the place of a module by itself, None if it stays."""
    if isinstance(module, nn.Dropout | nn.Dropout2d):
        return nn.Identity()
    if isinstance(module, Conv) and _packs(module):
        return PreparedConv(module, None, relu=False, precision=precision)
    if isinstance(module, nn.Linear):
        return PreparedLinear(module, relu=False, precision=precision)
    if precision == "bf16" and isinstance(module, Conv | ConvTranspose):
        return module.bfloat16()  # else autocast would round the weights at each call
    if precision == "bf16" and isinstance(module, LocalResponseNorm):
        return InFloat32(module)  # powers of sums: in bfloat16 each step would be rounded
    return None


def _packs(module: nn.Module) -> bool:
    return isinstance(module, Conv) and module.links is None and len(module.kernel) == 2


def _folded(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the weights and biases of a convolution and the batch normalisation after it; in float64, then rounded.

    gamma * (w x + b - mean) / sqrt(var + eps) + beta.
    """
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None  # `_fuse` has looked
    assert var is not None
    scale = (var.double() + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight.double())
    shift = (0.0 if bias is None else bias.double()) - mean.double()
    new_bias = shift * scale + (0.0 if norm.bias is None else norm.bias.double())
    new_weight = weight.double() * scale.view(-1, *(1,) * (weight.ndim - 1))
    return new_weight.to(weight.dtype), new_bias.to(weight.dtype)
