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
    in_one = all(p.is_cpu and p.dtype == torch.float32 and _is_dense(p) for p in trainable)
    made = _optimizer(
        options,
        [
            {"params": own, "weight_decay": options.weight_decay if decayed else 0.0, "scale": part}
            for (part, decayed), own in groups.items()
        ],
        fused=in_one,
    )
    if in_one:
        made.register_step_pre_hook(_lay_out_gradients)
    return made


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


def _is_dense(p: Tensor) -> bool:
    return p.is_contiguous() or (p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last))


def _lay_out_gradients(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Bring gradients into their parameters' layout: PyTorch's fused step pairs numbers as they lie in memory."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None and p.grad.stride() != p.stride():
                p.grad = _laid_out(p.grad, p)


def _laid_out(x: Tensor, like: Tensor) -> Tensor:
    return torch.empty_strided(like.shape, like.stride(), dtype=x.dtype, device=x.device).copy_(x)


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
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        like = parameters[int(index)]
        state.setdefault(int(index), {})[name] = _laid_out(value, like) if value.shape == like.shape else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
