"""Exponential moving average of the weights."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """The moving average of a model's parameters: average <- d average + (1 - d) weights after each step.

    d rises as (1 + t) / (10 + t) up to `decay`, so that the first steps do not weigh for long. Buffers (the statistics
    of batch normalisation, already averages) are taken as they are.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step number `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = dict(model.named_parameters(remove_duplicate=False))
        buffers = dict(model.named_buffers(remove_duplicate=False))
        own = [self.tensors[name] for name in weights]
        torch._foreach_lerp_(own, list(weights.values()), 1.0 - decay)
        for name in self.tensors.keys() & buffers.keys():  # some buffers are not part of a state
            self.tensors[name].copy_(buffers[name])

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put saved tensors back."""
        for name, value in tensors.items():
            self.tensors[name].copy_(value)
