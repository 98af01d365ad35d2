"""How much a network multiplies, and whether it is small."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def products(model: "nn.Module", input_size: tuple[int, ...]) -> int:
    """Return the products of one picture (C, H, W): those of all modules with a weight of two axes or more.

    Runs the model once, in evaluation mode, on a blank picture.
    """
    import torch

    total = 0

    def count(module: "nn.Module", inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim >= 2 and isinstance(output, torch.Tensor):
            spread = inputs[0] if weight.ndim > 2 and output.shape[2:] > inputs[0].shape[2:] else output
            total += weight.numel() * (spread[0, 0].numel() if spread.ndim > 2 else 1)

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    training = [module for module in model.modules() if module.training]
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        model.eval()
        with torch.inference_mode():
            model(torch.zeros(1, *input_size, device=like.device, dtype=like.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return total


def why_not_small(model: "nn.Module", input_size: tuple[int, ...]) -> str | None:
    """Return None if a network is computed as one where the runtime is `small`, else why not."""
    from striate.nn import fused

    made = fused(model, input_size)
    return made if isinstance(made, str) else None
