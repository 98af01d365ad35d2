"""Optimisers from options, and their state as plain tensors."""

import torch
from torch import Tensor, nn

from striate.training._recipe import OptimizerOptions


def make_optimizer(options: OptimizerOptions, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser over a model's trainable parameters; weight decay is for kernels and matrices, or all."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trainable if p.ndim >= 2 or options.decay_all]
    spared = [p for p in trainable if p.ndim < 2 and not options.decay_all]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if options.name == "adamw":
        betas = (options.momentum, options.beta2)
        return torch.optim.AdamW(groups, lr=options.lr, betas=betas, eps=options.epsilon)
    if options.name == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=options.lr, momentum=options.momentum, alpha=options.beta2, eps=options.epsilon
        )
    return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov)


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
