"""Batch normalisation with the mean and variance of the batch of all processes, on any device."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm

from striate.training.processes._group import Processes, current


class _Shared(nn.modules.batchnorm._BatchNorm):
    """What the shared kinds have in common: parameters, buffers, names and evaluation are PyTorch's."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input normalised by the statistics of what all processes bring, which may be nothing."""
        if not self.training or not current().sharing:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        mean, variance, count = _statistics(input)
        if count <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        self._follow(mean, variance * (count / (count - 1)))
        normalised: Tensor = _Normalised.apply(input, self.weight, self.bias, mean, variance, count, self.eps)  # type: ignore[no-untyped-call]
        return normalised

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Let the running averages take in a batch, as PyTorch's do."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        weight = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for average, value in ((self.running_mean, mean), (self.running_var, variance)):
            average.mul_(1.0 - weight).add_(value.to(average.dtype), alpha=weight)


class _Shared1d(_Shared, nn.BatchNorm1d): ...


class _Shared2d(_Shared, nn.BatchNorm2d): ...


class _Shared3d(_Shared, nn.BatchNorm3d): ...


_KINDS: dict[type[nn.Module], type[_Shared]] = {
    nn.BatchNorm1d: _Shared1d,
    nn.BatchNorm2d: _Shared2d,
    nn.BatchNorm3d: _Shared3d,
}


def share_batch_norm(model: nn.Module, processes: Processes) -> None:
    """Make a model's batch normalisation that of the whole batch; its state and its names stay as they are."""
    if processes.size > 1:
        for module in model.modules():
            if (kind := _KINDS.get(type(module))) is not None:
                module.__class__ = kind  # the same object with another forward pass: hooks and references stay


@torch.no_grad()
def _statistics(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean, biased variance (float32 or wider, per channel) and number of values of all processes' inputs."""
    channels = x.shape[1]
    wide = x if x.dtype in {torch.float32, torch.float64} else x.float()
    own = torch.zeros(2 * channels + 1, dtype=torch.float64, device=x.device)
    if count := x.numel() // channels:
        variance, mean = torch.var_mean(wide, [d for d in range(x.ndim) if d != 1], correction=0)
        own = torch.cat([own.new_tensor([count]), mean.double(), variance.double()])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    counts, means, variances = torch.split(torch.stack(parts), [1, channels, channels], 1)
    shares = counts / counts.sum()
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean).square())).sum(0)
    return mean.to(wide.dtype), variance.to(wide.dtype), int(counts.sum())


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance are functions of all processes' x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: int,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        if not x.numel():
            return torch.empty_like(x)
        return batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        scale = torch.ones_like(mean) if weight is None else weight
        of_weight, of_bias = torch.zeros_like(scale), torch.zeros_like(scale)
        of_x = torch.zeros_like(x)
        if x.numel():  # as if mean and variance were constants ...
            of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                grad, x, scale, mean, variance, None, None, False, ctx.eps, [True, True, True]
            )
        sums = torch.stack([of_weight, of_bias])
        dist.all_reduce(sums)
        if x.numel():  # ... and through them
            place = [1, -1] + [1] * (x.ndim - 2)
            inverse = (variance + ctx.eps).rsqrt()
            by_variance, by_mean = (sums * (scale * inverse / ctx.count)).unbind()
            of_x -= (x - mean.view(place)) * (by_variance * inverse).view(place) + by_mean.view(place)
        if weight is None:
            return of_x, None, None, None, None, None, None
        return of_x, of_weight, of_bias, None, None, None, None
