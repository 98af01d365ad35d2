"""Weights from elsewhere: files of other libraries into our networks, layer by layer, with a report of every tensor."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.models._weight_files import Weights, read_weights
from striate.models._weight_match import (
    HARMLESS,
    Ambiguity,
    Lane,
    Layer,
    Mismatch,
    Pairs,
    Shape,
    Signer,
    in_execution_order,
    joined,
    lanes_of,
    layers_of,
    maps_before,
    pair_lane,
    pair_norms,
    signer,
    uncertain_order,
)

_SHOWN = 3  # so many names stand in a message, the others are counted


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did with every tensor of the file and of the model."""

    file: str
    by: str  # "name" or "structure"
    used: dict[str, tuple[str, ...]]  # tensor of the file -> tensors of the model
    reshaped: tuple[
        str, ...
    ]  # those of the model that had another shape in the file (dense <-> convolution, two paths)
    unused: tuple[str, ...]  # tensors of the file that nothing is computed from here: counters, auxiliary classifiers
    kept: tuple[str, ...]  # tensors of the model that the file did not change

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "file": self.file,
            "by": self.by,
            "used": {source: list(targets) for source, targets in self.used.items()},
            "reshaped": list(self.reshaped),
            "unused": list(self.unused),
            "kept": list(self.kept),
        }

    def as_text(self) -> str:
        """Return the report for people: the counts, then what was not used and what was kept."""
        count = sum(len(targets) for targets in self.used.values())
        lines = [f"{self.file}: {len(self.used)} tensors -> {count} of the model, matched by {self.by}"]
        for what, names in (
            ("reshaped", self.reshaped),
            ("unused, in the file only", self.unused),
            ("kept as they were", self.kept),
        ):
            if names:
                lines.append(f"  {what}: {_some(names)}")
        return "\n".join(lines)


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, Tensor] | Weights,
    *,
    names: Mapping[str, str] | None = None,
    skip_head: bool = False,
    reordered: bool = False,
    added: bool = False,
) -> LoadReport:
    """Give a network the weights in a file, whatever library named them, and report every tensor.

    `source` is a safetensors file, a state dict that torch.save wrote (tensors only: nothing in it is executed), or a
    mapping of tensors. Tensors with the model's names are taken by name; others by structure: the order, the shapes
    and what the names say of shortcuts and auxiliary classifiers. `names` says it for single layers: {"their layer":
    "our layer"}. With `skip_head` classifiers for another number of classes, and auxiliary classifiers that the file
    lacks, stay as they are; auxiliary classifiers that only the file has are never an error. `reordered` takes layers
    that the file has in another order, found by their shapes: right only if the order of what is concatenated is the
    same. `added`: where every layer of the file has the name of one of the model's, those that only the model has stay
    as they are (a network that grew, such as FCN-16s of FCN-32s). Raises InputError, with the model untouched, where
    something is missing, left over, of another shape, in another order, not finite or ambiguous.
    """
    weights = read_weights(source)
    own = model.state_dict()
    if any(tensor.is_meta for tensor in own.values()):
        raise InputError("load_weights: the model is on the meta device and holds no numbers; build it on the CPU")
    by, pairs, kept = _paired(weights, own, dict(names or {}), skip_head, reordered, added)
    values, used, reshaped = _values(weights, own, pairs)
    for name, tensor in own.items():  # all has been checked; from here on nothing fails
        if name in values:
            with torch.no_grad():
                tensor.copy_(values[name])
    return LoadReport(
        file=weights.file,
        by=by,
        used=used,
        reshaped=tuple(reshaped),
        unused=tuple(name for name in weights.tensors if name not in used),
        kept=tuple(name for name in own if name not in values and (_layer(name) in kept or HARMLESS not in name)),
    )


def _paired(
    weights: Weights,
    own: Mapping[str, Tensor],
    names: Mapping[str, str],
    skip_head: bool,
    reordered: bool,
    added: bool,
) -> tuple[str, Pairs, set[str]]:
    """Return how the layers were matched, the pairs (theirs, ours), and the names of our layers that are left alone."""
    theirs = layers_of({name: tuple(tensor.shape) for name, tensor in weights.tensors.items()})
    ours = layers_of({name: tuple(tensor.shape) for name, tensor in own.items()})
    by_name, own_names = {layer.name: layer for layer in theirs}, {layer.name for layer in ours}
    if not names and (by_name.keys() == own_names or (added and by_name.keys() < own_names)):
        # in our order, which says what the last layer is: files are often sorted by name
        same = [(by_name[layer.name], layer) for layer in ours if layer.name in by_name]
        pairs, kept = _without_heads(same, weights.file, skip_head)
        return "name", pairs, kept | (own_names - by_name.keys())
    told = _told(theirs, ours, names, weights.file)
    theirs = [layer for layer in theirs if layer not in [pair[0] for pair in told]]
    ours = [layer for layer in ours if layer not in [pair[1] for pair in told]]
    if not weights.ordered:
        theirs = in_execution_order(theirs)
    pairs, kept = _by_structure(weights, theirs, ours, skip_head, reordered)
    return "structure", told + pairs, kept


def _by_structure(
    weights: Weights, theirs: Sequence[Layer], ours: Sequence[Layer], skip_head: bool, reordered: bool
) -> tuple[Pairs, set[str]]:
    """Pair the layers lane by lane; the second result are the names of our layers that are left alone."""
    if {layer.name for layer in theirs} != {layer.name for layer in ours}:
        ours = joined(ours)
    head, their_head = _last_map(ours), _last_map(theirs)
    classes = head.shapes["weight"][0] if head else 0, their_head.shapes["weight"][0] if their_head else 0
    free = skip_head and classes[0] != classes[1]
    sign = (
        signer(ours, _heads(theirs, classes[1]) if free else {}),
        signer(theirs, _heads(ours, classes[0]) if free else {}),
    )
    lanes, own_lanes = lanes_of(theirs), lanes_of(ours)
    left = set[str]()
    for lane in [lane for lane in lanes.keys() | own_lanes.keys() if lane[0] == "auxiliary"]:
        if lane not in own_lanes or (skip_head and lane not in lanes):
            left |= {layer.name for layer in own_lanes.pop(lane, [])}
            lanes.pop(lane, None)
    pairs, mismatch, moved = _pair_lanes(weights, lanes, own_lanes, sign, (maps_before(theirs), maps_before(ours)))
    if mismatch != Mismatch([], []):
        _refuse(weights.file, mismatch, sign, (their_head, head))
    if moved and not reordered:
        raise InputError(
            f"{weights.file}: has layers in another order: {_some(moved)}; if they are branches, their maps may be "
            "concatenated in another order too, and the network would not be the same; if you know that they are not, "
            "reordered=True takes them"
        )
    left |= {ours.name for theirs, ours in pairs if free and not _fits(theirs, ours)}
    return [pair for pair in pairs if pair[1].name not in left], left


def _pair_lanes(
    weights: Weights,
    lanes: Mapping[Lane, Sequence[Layer]],
    own_lanes: Mapping[Lane, Sequence[Layer]],
    sign: tuple[Signer, Signer],
    before: tuple[Mapping[str, str], Mapping[str, str]],
) -> tuple[Pairs, Mismatch, list[str]]:
    """Return the pairs of all lanes, what does not fit, and the maps of the file that stand in another order."""
    mismatch, pairs, moved = Mismatch([], []), Pairs(), list[str]()
    for lane in sorted(lanes.keys() | own_lanes.keys(), key=lambda lane: (lane[1] != "map", lane)):
        one, other = lanes.get(lane, []), own_lanes.get(lane, [])
        if not weights.ordered and (doubt := uncertain_order(one, sign[0])):
            raise InputError(_ambiguous(weights.file, Ambiguity([x.name for x in doubt], [], _NO_ORDER)))
        if lane[1] == "norm":
            result = pair_norms(one, other, sign, pairs, before, shuffled=bool(moved))
        else:
            result = pair_lane(one, other, sign)
        if isinstance(result, Ambiguity):
            raise InputError(_ambiguous(weights.file, result))
        if isinstance(result, Mismatch):
            mismatch = Mismatch(mismatch.theirs + result.theirs, mismatch.ours + result.ours)
            continue
        pairs += result
        if lane[1] == "map":
            at = {layer.name: place for place, layer in enumerate(other)}
            place = {layer.name: number for number, layer in enumerate(one)}
            moved += [a.name for a, b in result if place[a.name] != at[b.name]]
    return pairs, mismatch, moved


_NO_ORDER = "have the same shape, and neither the file's order (sorted by name) nor the names say which comes first"


def _last_map(layers: Sequence[Layer]) -> Layer | None:
    return next((layer for layer in reversed(layers) if (layer.role, layer.kind) == ("main", "map")), None)


def _heads(layers: Sequence[Layer], classes: int) -> dict[str, Shape]:
    """Return the classifiers: the last map of the main path, with any input, and the auxiliary ones with theirs."""
    found = {
        layer.name: layer.shapes["weight"][1:]
        for layer in layers
        if (layer.role, layer.kind) == ("auxiliary", "map") and layer.shapes["weight"][0] == classes
    }
    last = _last_map(layers)
    return found if last is None else {**found, last.name: ()}


def _fits(theirs: Layer, ours: Layer) -> bool:
    """Whether every tensor has as many numbers in as many rows on both sides."""
    return theirs.shapes.keys() == ours.shapes.keys() and all(
        shape[:1] == ours.shapes[key][:1] and torch.Size(shape).numel() == torch.Size(ours.shapes[key]).numel()
        for key, shape in theirs.shapes.items()
    )


def _without_heads(pairs: Pairs, file: str, skip_head: bool) -> tuple[Pairs, set[str]]:
    """Return the pairs that fit; those that do not are an error, but for the classifiers with `skip_head`."""
    ours = [layer for _, layer in pairs]
    head = _last_map(ours)
    heads = _heads(ours, head.shapes["weight"][0]) if head is not None else {}
    wrong = [(one, other) for one, other in pairs if one.shapes != other.shapes]
    bad = [f"{x.name} is {_shape(x)} in the file, {_shape(y)} here" for x, y in wrong if y.name not in heads]
    if wrong and not skip_head:
        bad = bad or [f"{x.name} is {_shape(x)} in the file, {_shape(y)} here" for x, y in wrong]
    if bad:
        remedy = "" if skip_head or len(bad) > len(heads) else "; skip_head=True leaves the classifiers as they are"
        raise InputError(f"{file}: does not fit the model: {_some(bad, '; ')}{remedy}")
    return [pair for pair in pairs if pair not in wrong], {other.name for _, other in wrong}


def _told(theirs: Sequence[Layer], ours: Sequence[Layer], names: Mapping[str, str], file: str) -> Pairs:
    """Return the pairs that the caller names."""
    by_name, own = {layer.name: layer for layer in theirs}, {layer.name: layer for layer in ours}
    for name, target in names.items():
        if name not in by_name or target not in own:
            where, missing = (file, name) if name not in by_name else ("the model", target)
            raise InputError(f"load_weights: names: {where} has no layer {missing!r}")
        if not _fits(by_name[name], own[target]):
            raise InputError(
                f"load_weights: names: {name!r} is {_shape(by_name[name])}, {target!r} is {_shape(own[target])}"
            )
    if len(set(names.values())) < len(names):
        raise InputError("load_weights: names: two layers of the file are to become one layer of the model")
    return [(by_name[name], own[target]) for name, target in names.items()]


def _values(
    weights: Weights, own: Mapping[str, Tensor], pairs: Pairs
) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]], list[str]]:
    """Return the new value of each tensor of ours, which tensors each of the file's became, and those reshaped."""
    values: dict[str, Tensor] = {}
    used: dict[str, tuple[str, ...]] = {}
    reshaped = []
    for theirs, ours in pairs:
        parts = ours.parts or (ours.name,)
        for key in [*theirs.shapes, HARMLESS]:
            source, targets = _key(theirs.name, key), tuple(_key(part, key) for part in parts)
            if source not in weights.tensors or targets[0] not in own:
                continue
            tensor = weights.tensors[source]
            _require_numbers(weights.file, source, tensor, own[targets[0]])
            pieces = tensor.chunk(len(parts)) if tensor.ndim else (tensor,) * len(parts)
            for target, piece in zip(targets, pieces, strict=True):
                values[target] = piece.reshape(own[target].shape)
                if own[target].shape != tensor.shape:
                    reshaped.append(target)
            used[source] = targets
    return values, used, reshaped


def _require_numbers(file: str, name: str, tensor: Tensor, ours: Tensor) -> None:
    if ours.is_floating_point() and not tensor.is_floating_point():
        raise InputError(f"{file}: {name} holds {tensor.dtype}, expected floating-point numbers")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{file}: {name} holds values that are not finite: a damaged file or a training that diverged")


def _ambiguous(file: str, found: Ambiguity) -> str:
    ours = f" (ours: {_some(found.ours)})" if found.ours else ""
    return (
        f"{file}: ambiguous: {_some(found.theirs)} {found.why}{ours}; "
        "say which is which with names={'their layer': 'our layer'}"
    )


def _refuse(
    file: str,
    mismatch: Mismatch,
    sign: tuple[Signer, Signer],
    heads: tuple[Layer | None, Layer | None],
) -> None:
    """Raise the InputError that says what does not fit."""
    if _roles_unsaid(mismatch, sign):
        shortcuts = [layer.name for layer in mismatch.ours if layer.role == "shortcut"]
        found = Ambiguity([x.name for x in mismatch.theirs], shortcuts, "do not say by name which are shortcuts")
        raise InputError(_ambiguous(file, found))
    one, other = mismatch
    if len(one) == len(other) == 1 and (one[0], other[0]) == heads:
        raise InputError(
            f"{file}: the classifier {one[0].name} is {_shape(one[0])}, ours, {other[0].name}, {_shape(other[0])}; "
            "build the model with as many classes and the same input size, or skip it with skip_head=True"
        )
    parts = []
    if one:
        parts.append("no place in the model for " + _some([f"{x.name} {_shape(x)}" for x in one]))
    if other:
        parts.append("nothing in the file for " + _some([f"{x.name} {_shape(x)}" for x in other]))
    if other and not one and all(layer.role == "auxiliary" for layer in other):
        parts.append("skip_head=True leaves the auxiliary classifiers as they are")
    raise InputError(f"{file}: does not fit the model: {'; '.join(parts)}")


def _roles_unsaid(mismatch: Mismatch, sign: tuple[Signer, Signer]) -> bool:
    """Whether all would fit if nothing were known of shortcuts."""
    a: list[Hashable] = [sign[0](layer) for layer in mismatch.theirs]
    b: list[Hashable] = [sign[1](layer) for layer in mismatch.ours]
    return sorted(map(repr, a)) == sorted(map(repr, b))


def _shape(layer: Layer) -> str:
    biased = " with bias" if "bias" in layer.shapes and layer.kind == "map" else ""
    shape = layer.shapes.get("weight", next(iter(layer.shapes.values())))
    return f"{shape}{biased}"


def _some(names: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return separator.join(names[:_SHOWN]) + more


def _key(layer: str, tensor: str) -> str:
    return f"{layer}.{tensor}" if layer else tensor


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
