"""A network of the catalog in plain torch.nn modules, as people write it: the peer of the benchmarks."""

import os
from typing import Any

import torch
from torch import Tensor, nn

from striate import nn as ours
from striate.geometry import make_window


def plain(model: nn.Module) -> nn.Module:
    """Replace Striate's modules inside a network by PyTorch's with the same weights and settings, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children leaves out those that come again
            replacement = _plain(child) if child is not None else None
            if child is not None and replacement is not None:
                parent._modules[name] = replacement.train(child.training)
    return model


def compiled(function: Any) -> Any:
    """Return a model or function compiled by PyTorch; where no gradients are wanted, weights are constants to it."""
    os.environ.setdefault("TORCHINDUCTOR_FREEZING", "1")  # read when the compiler is loaded
    return torch.compile(function)


def _plain(module: nn.Module) -> nn.Module | None:
    if isinstance(module, ours.Conv):
        return _conv(module)
    if isinstance(module, ours.MaxPool):
        pads = _symmetric(module)
        return nn.MaxPool2d(module.kernel, module.stride, pads, module.dilation, ceil_mode=module.ceil)
    if isinstance(module, ours.AvgPool):
        return nn.AvgPool2d(module.kernel, module.stride, _symmetric(module), ceil_mode=module.ceil)
    if isinstance(module, ours.LocalResponseNorm):
        return nn.LocalResponseNorm(module.size, module.size * module.alpha, module.beta, module.k)
    if isinstance(module, ours.Dropout):
        return nn.Dropout(module.p)
    if isinstance(module, ours.ScaledTanh):
        return ScaledTanh(module.amplitude, module.slope)
    if isinstance(module, ours.Subsample):
        return Subsample(module)
    if isinstance(module, ours.RBF):
        return Distances(module.centres)
    return None


class ScaledTanh(nn.Module):
    """LeNet-5's activation, of `torch.tanh`."""

    def __init__(self, amplitude: float, slope: float) -> None:
        super().__init__()
        self.amplitude, self.slope = amplitude, slope

    def forward(self, x: Tensor) -> Tensor:
        """Return amplitude * tanh(slope * x)."""
        return self.amplitude * torch.tanh(self.slope * x)


class Subsample(nn.Module):
    """LeNet-5's subsampling, of average pooling."""

    def __init__(self, module: ours.Subsample) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(module.kernel, module.stride, divisor_override=1 if module.reduce == "sum" else None)
        self.weight = nn.Parameter(module.weight.detach().clone())
        self.bias = nn.Parameter(module.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return weight * pooled + bias for every map."""
        y: Tensor = self.pool(x) * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)
        return y


class Distances(nn.Module):
    """LeNet-5's output layer."""

    centres: Tensor

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.register_buffer("centres", centres.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the squared distance of every row to every centre."""
        return (x[:, None] - self.centres).square().sum(-1)


class LinkedConv(nn.Module):
    """A convolution whose maps look at some of the inputs: a dense kernel times a mask."""

    mask: Tensor

    def __init__(self, links: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...]) -> None:
        super().__init__()
        mask = links.bool()[..., None, None].expand(*links.shape, *weight.shape[1:])
        self.register_buffer("mask", mask.float())
        self.weight = nn.Parameter(torch.zeros(mask.shape).masked_scatter(mask, weight.detach()))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution without padding."""
        return nn.functional.conv2d(x, self.weight * self.mask, self.bias, self.stride)


def _conv(module: ours.Conv) -> nn.Module:
    window = make_window(2, module.kernel, size=module.kernel, padding=module.padding, stride=module.stride)
    pads = window.symmetric_padding
    if module.links is not None:
        assert pads == (0, 0)
        return LinkedConv(module.links, module.weight, module.bias, window.stride)
    conv = nn.Conv2d(
        module.in_channels,
        module.out_channels,
        module.kernel,
        module.stride,
        pads or 0,
        module.dilation,
        module.groups,
        bias=module.bias is not None,
    )
    conv.load_state_dict(module.state_dict())
    if pads is not None:
        return conv
    (top, bottom), (left, right) = window.padding
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)


def _symmetric(module: ours.MaxPool | ours.AvgPool) -> tuple[int, ...]:
    pads = make_window(2, module.kernel, size=module.kernel, padding=module.padding).symmetric_padding
    assert pads is not None
    return pads
