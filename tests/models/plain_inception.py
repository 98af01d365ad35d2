"""Inception networks written out in plain PyTorch take their weights from here, in the order of the modules."""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]


class Plain:
    """The tensors of a network's state, one layer at a time, and what the layers as typed in the tests cost."""

    def __init__(self, model: nn.Module) -> None:
        self.tensors: list[tuple[str, Tensor]] = list(model.state_dict().items())
        self.parameters = self.macs = 0

    def conv(self, x: Tensor, filters: int, kernel: int | Size = 1, stride: int = 1, *, valid: bool = False) -> Tensor:
        """Convolution without bias, batch normalisation in evaluation, ReLU."""
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight = self._take(filters, x.shape[1], *kernel)
        scale, shift, mean, variance = (self._take(filters) for _ in range(4))
        self._take()  # batches seen
        padding = (0, 0) if valid else (kernel[0] // 2, kernel[1] // 2)
        x = F.conv2d(x, weight, stride=stride, padding=padding)
        self._count(weight, x)
        self.parameters += 2 * filters
        normal = scale * (x.movedim(1, -1) - mean) / (variance + 0.001).sqrt() + shift
        return F.relu(normal.movedim(-1, 1))

    def linear_conv(self, x: Tensor, filters: int) -> Tensor:
        """A 1 x 1 convolution with a bias and nothing behind it."""
        weight, bias = self._take(filters, x.shape[1], 1, 1), self._take(filters)
        x = F.conv2d(x, weight, bias)
        self._count(weight, x)
        self.parameters += filters
        return x

    def dense(self, x: Tensor, outputs: int) -> Tensor:
        """A fully connected layer."""
        weight, bias = self._take(outputs, x.shape[1]), self._take(outputs)
        x = F.linear(x, weight, bias)
        self._count(weight, x)
        self.parameters += outputs
        return x

    def _take(self, *shape: int) -> Tensor:
        name, tensor = self.tensors.pop(0)
        assert tuple(tensor.shape) == shape, name
        return tensor

    def _count(self, weight: Tensor, outputs: Tensor) -> None:
        self.parameters += weight.numel()
        self.macs += weight[0].numel() * prod(outputs.shape)


def average(x: Tensor) -> Tensor:
    """The mean over 3 x 3 of the pixels within the image."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def biggest(x: Tensor) -> Tensor:
    """The maximum over 3 x 3 at stride 2."""
    return F.max_pool2d(x, 3, 2)


def shaken(model: nn.Module) -> nn.Module:
    """The network in evaluation and float64, with batch norms and biases that do something."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in model.double().state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("bias", "running_mean")):
            tensor.uniform_(-0.2, 0.2, generator=generator)
    return model.eval()
