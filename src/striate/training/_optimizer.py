"""Optimisers from options, and their state as plain tensors."""

from typing import Any

import torch
from torch import Tensor, nn

from striate.training._layers import rates
from striate.training._recipe import OptimizerOptions


def make_optimizer(options: OptimizerOptions, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser over a model's trainable parameters; weight decay is for kernels and matrices, or all.

    A group's "scale" is the part of the learning rate that its layers have: see `set_rate`.
    """
    scale = rates(model, options.layer_decay)
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for decayed in (True, False):
        for p in trainable:
            if decayed == (p.ndim >= 2 or options.decay_all):
                groups.setdefault((scale[p], decayed), []).append(p)
    return _optimizer(
        options,
        [
            {"params": own, "weight_decay": options.weight_decay if decayed else 0.0, "scale": part}
            for (part, decayed), own in groups.items()
        ],
        fused=all(p.device.type == "cpu" and p.dtype == torch.float32 and p.is_contiguous() for p in trainable),
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the last layer; the others have their part of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def _optimizer(options: OptimizerOptions, groups: list[dict[str, Any]], *, fused: bool) -> torch.optim.Optimizer:
    """Return the optimiser; `fused`: all operations in one pass over a tensor, many times as fast for small ones."""
    in_one = fused or None  # None: as PyTorch chooses
    if options.name == "adamw":
        betas = (options.momentum, options.beta2)
        return torch.optim.AdamW(groups, lr=options.lr, betas=betas, eps=options.epsilon, fused=in_one)
    if options.name == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=options.lr, momentum=options.momentum, alpha=options.beta2, eps=options.epsilon
        )
    return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov, fused=in_one)


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as "parameter index.name" -> tensor; settings come from the recipe instead."""
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def load_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put `state_tensors`' dictionary back into a fresh optimiser of the same recipe and model."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
