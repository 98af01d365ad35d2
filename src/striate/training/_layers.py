"""A network's layers in their order: which are trained, and at which part of the learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from textwrap import shorten
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from striate.errors import InputError, did_you_mean
from striate.models._weight_names import PATHS
from striate.models.auxiliary import HasAuxiliaries

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
_SHOWN = 24  # rows of a table in a terminal


@dataclass
class Layer:
    """A step of a network on its way to the output, or an auxiliary classifier."""

    name: str
    modules: dict[str, nn.Module]  # by their names in the network
    depth: int = 0  # layers between it and the output

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All its parameters."""
        return [p for module in self.modules.values() for p in module.parameters()]


def layers_of(model: nn.Module) -> list[Layer]:
    """Return the layers that have parameters, from the input to the output, auxiliary classifiers last.

    The parts of a network are layers, as their papers name them: a convolution, a residual unit, an inception module.
    `nn.Sequential` is taken apart, since its parts follow each other; a normalisation belongs to the layer before it.
    Layers of the same name on parallel paths (AlexNet) are equally deep.
    """
    heads = set(model.auxiliary_weights) if isinstance(model, HasAuxiliaries) else set[str]()
    found = _steps(model, "", heads)
    order = list(dict.fromkeys(PATHS.sub("path", layer.name) for layer in found))
    for layer in found:
        layer.depth = len(order) - 1 - order.index(PATHS.sub("path", layer.name))
    children = dict(model.named_children())
    return found + [Layer(name, {name: children[name]}) for name in children if name in heads]


def _steps(model: nn.Module, prefix: str, without: set[str]) -> list[Layer]:
    found: list[Layer] = []
    ahead: dict[str, nn.Module] = {}  # normalisations with nothing before them
    for name, child in model.named_children():
        full = f"{prefix}{name}"
        inside = [m for m in child.modules() if isinstance(m, _NORMS) or any(True for _ in m.parameters(recurse=False))]
        if full in without or not inside:
            continue
        if all(isinstance(module, _NORMS) for module in inside):
            (found[-1].modules if found else ahead)[full] = child
            continue
        if isinstance(child, nn.Sequential) or PATHS.fullmatch(name):
            inner = _steps(child, f"{full}.", without)
            found += [Layer(full, {full: child})] if len(inner) == 1 else inner
        else:
            found.append(Layer(full, {full: child}))
        found[-1].modules, ahead = {**ahead, **found[-1].modules}, {}
    return found or ([Layer(prefix.rstrip("."), ahead)] if ahead else [])


def frozen_modules(model: nn.Module, freeze: str) -> dict[str, nn.Module]:
    """Return the modules that a recipe's `freeze` names.

    "3": the first three layers; "-1": all but the last; else names of layers (with their normalisation) or of modules
    in or around them, separated by commas, in which * and ? stand for any letters. Raises InputError for a name that is
    none and for too many layers.
    """
    layers = layers_of(model)
    if not freeze:
        return {}
    try:
        count = int(freeze)
    except ValueError:
        return _named(model, freeze, layers)
    depths = sorted({layer.depth for layer in layers}, reverse=True)
    kept = depths[:count]
    if not kept or len(kept) == len(depths):
        raise InputError(
            f"freeze={freeze}: the network has {len(depths)} layers; give a number from 1 to {len(depths) - 1} "
            f"(so many from the input on) or from -{len(depths) - 1} to -1 (all but so many), or names"
        )
    return {name: module for layer in layers if layer.depth in kept for name, module in layer.modules.items()}


def _named(model: nn.Module, freeze: str, layers: Sequence[Layer]) -> dict[str, nn.Module]:
    modules = {name: module for name, module in model.named_modules() if name}
    found: dict[str, nn.Module] = {}
    for pattern in (word.strip() for word in freeze.split(",")):
        here = {name: module for name, module in modules.items() if fnmatchcase(name, pattern)}
        for layer in layers:
            here |= layer.modules if layer.name in here else {}
        if not any(True for module in here.values() for _ in module.parameters()):
            known = shorten(did_you_mean(pattern, [layer.name for layer in layers]), 400, placeholder=" ...")
            raise InputError(f"freeze={pattern}: the network has no such layer{known}")
        found |= here
    return found


def freeze(model: nn.Module, names: str) -> None:
    """Leave the parameters of the layers that `names` tells (see `frozen_modules`) as they are; raises InputError."""
    for module in frozen_modules(model, names).values():
        module.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError(f"freeze={names}: nothing would be left to train; freeze fewer layers, for example freeze=-1")


def set_training(model: nn.Module, frozen: str) -> None:
    """Put a network into training mode, but frozen normalisations: their statistics stay as they are, and are used."""
    model.train()
    for module in frozen_modules(model, frozen).values():
        for inner in module.modules():
            if isinstance(inner, _NormBase):
                inner.eval()


def rates(model: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """Return what the learning rate of each parameter is multiplied with: `decay` to the power of its layer's depth."""
    found = {p: decay**layer.depth for layer in layers_of(model) for p in layer.parameters}
    return {p: found.get(p, 1.0) for p in model.parameters()}


def table(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return a row per layer: name, parameters, how many of them are trained, part of the learning rate."""
    return [
        {
            "layer": layer.name,
            "parameters": sum(p.numel() for p in layer.parameters),
            "trained": sum(p.numel() for p in layer.parameters if p.requires_grad),
            "rate": decay**layer.depth,
        }
        for layer in layers_of(model)
    ]


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Write `table`'s rows for a terminal; of many, the first and the last."""
    width = max(len(row["layer"]) for row in rows)
    lines = [
        f"{row['layer']:<{width}}  {row['parameters']:>12,}  "
        + ("frozen" if not row["trained"] else f"rate x {row['rate']:.4g}")
        for row in rows
    ]
    if len(lines) > _SHOWN:
        half = _SHOWN // 2
        lines[half:-half] = [f"... {len(lines) - 2 * half} more, in run.json ..."]
    return "\n".join([f"{'layer':<{width}}  {'parameters':>12}  trained", *lines])
