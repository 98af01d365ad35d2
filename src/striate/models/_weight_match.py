"""Which layer of one network is which layer of another, from names, shapes and order alone.

Layers are put into lanes: convolutions and dense layers, norms and others, each on the main path, on shortcuts and in
auxiliary classifiers. In a lane both networks list the same layers in the order of execution. Where both lists agree
the layers belong together. Where they differ (branches in another order), the lists are cut into the shortest pieces
that hold the same layers, and in a piece a layer belongs to the only one of its shape; two of one shape are ambiguous.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from striate.models._weight_names import PATHS, ROLES, WORDS

HARMLESS = "num_batches_tracked"  # how many batches the averages have seen; nothing is computed from it
Shape = tuple[int, ...]
Lane = tuple[str, str]  # role, kind


@dataclass(frozen=True)
class Layer:
    """The tensors of one module, or of several whose outputs stand side by side in the other network's one."""

    name: str
    shapes: dict[str, Shape] = field(hash=False)  # by the tensor's own name, such as weight
    parts: tuple[str, ...] = ()  # the modules, where there are several

    @property
    def kind(self) -> Literal["map", "norm", "other"]:
        """What the layer computes: a linear map (dense or convolution), a norm, or anything else."""
        weight = self.shapes.get("weight")
        if weight is None:
            return "other"
        return "norm" if len(weight) == 1 or "running_mean" in self.shapes else "map"

    @property
    def role(self) -> str:
        """What the layer is for, as its name says: "main", "shortcut" or "auxiliary"."""
        parts = self.name.split(".")
        return next((role for role, words in ROLES.items() if any(words.fullmatch(part) for part in parts)), "main")


class Ambiguity(NamedTuple):
    """Layers of one shape on both sides, and nothing that tells which is which."""

    theirs: list[str]
    ours: list[str]
    why: str


class Mismatch(NamedTuple):
    """Layers that only one side has."""

    theirs: list[Layer]
    ours: list[Layer]


Pairs = list[tuple[Layer, Layer]]  # (theirs, ours)
Signer = Callable[[Layer], Hashable]


def layers_of(shapes: Mapping[str, Shape]) -> list[Layer]:
    """Group named tensors into layers, in the order of their first tensor."""
    found: dict[str, dict[str, Shape]] = {}
    for key, shape in shapes.items():
        name, _, tensor = key.rpartition(".")
        own = found.setdefault(name, {})
        if tensor != HARMLESS:
            own[tensor] = shape
    return [Layer(name, own) for name, own in found.items() if own]


def joined(layers: Sequence[Layer]) -> list[Layer]:
    """Join the layers of parallel paths (AlexNet's two GPUs) to the one layer that grouped convolutions make of them.

    The outputs of path1, path2 ... follow each other, so the tensors are joined along their first axis.
    """
    found: dict[str, list[Layer]] = {}
    for layer in layers:
        found.setdefault(PATHS.sub("path", layer.name), []).append(layer)
    return [
        Layer(
            name,
            {key: (sum(each.shapes[key][0] for each in same), *shape[1:]) for key, shape in same[0].shapes.items()},
            tuple(each.name for each in same),
        )
        if len(same) > 1
        else same[0]
        for name, same in found.items()
    ]


def lanes_of(layers: Sequence[Layer]) -> dict[Lane, list[Layer]]:
    """Sort layers into lanes, keeping their order."""
    lanes: dict[Lane, list[Layer]] = {}
    for layer in layers:
        lanes.setdefault((layer.role, layer.kind), []).append(layer)
    return lanes


def signer(other: Collection[Layer], heads: Mapping[str, Shape] = {}) -> Signer:
    """Return what tells layers apart by shape; a convolution is its dense layer where `other` has only that.

    `heads` are classifiers whose number of outputs does not count: their shape without it is given.
    """
    there = {layer.shapes["weight"] for layer in other if layer.kind == "map"}
    dense = {shape for shape in there if len(shape) == 2}

    def sign(layer: Layer) -> Hashable:
        shapes = dict(layer.shapes)
        weight = shapes.get("weight")
        if layer.name in heads:
            return "head", heads[layer.name], tuple(sorted(shapes))
        if layer.kind == "map" and weight is not None:
            flat = flattened(weight)
            if all(size == 1 for size in weight[2:]) or (weight not in there and flat in dense):
                shapes["weight"] = flat
        return layer.kind, tuple(sorted(shapes.items()))

    return sign


def flattened(weight: Shape) -> Shape:
    """Return the shape of the dense layer that a convolution over its whole input is."""
    inputs = 1
    for size in weight[1:]:
        inputs *= size
    return weight[0], inputs


def pair_lane(
    theirs: Sequence[Layer], ours: Sequence[Layer], sign: tuple[Signer, Signer]
) -> Pairs | Mismatch | Ambiguity:
    """Pair two lists of layers by order and shape."""
    a, b = [sign[0](layer) for layer in theirs], [sign[1](layer) for layer in ours]
    if Counter(a) != Counter(b):
        return Mismatch(_surplus(theirs, a, b), _surplus(ours, b, a))
    pairs: Pairs = []
    start, open_, balance = 0, 0, Counter[Hashable]()
    for at, (one, other) in enumerate(zip(a, b, strict=True)):
        for signature, step in ((one, 1), (other, -1)):
            open_ += (balance[signature] == 0) - (balance[signature] + step == 0)
            balance[signature] += step
        if open_ == 0:
            piece = _in_piece(theirs[start : at + 1], ours[start : at + 1], sign)
            if isinstance(piece, Ambiguity):
                return piece
            pairs += piece
            start = at + 1
    return pairs


def pair_norms(
    theirs: Sequence[Layer],
    ours: Sequence[Layer],
    sign: tuple[Signer, Signer],
    maps: Pairs,
    before: tuple[Mapping[str, str], Mapping[str, str]],
    shuffled: bool,
) -> Pairs | Mismatch | Ambiguity:
    """Pair norms: those that follow paired maps belong together; where that is not told, by order.

    `before`: the map that each norm follows, on both sides; `shuffled`: the maps have another order on both sides.
    """
    our_map = {one.name: other.name for one, other in maps}
    keys = [our_map.get(before[0].get(layer.name, "")) for layer in theirs]
    known = [before[1].get(layer.name) for layer in ours]
    if None not in keys and len(set(keys)) == len(keys) == len(known) and set(keys) == set(known):
        pairs = [(layer, ours[known.index(key)]) for layer, key in zip(theirs, keys, strict=True)]
        if all(sign[0](one) == sign[1](other) for one, other in pairs):
            return pairs
    if shuffled and max(Counter(sign[1](layer) for layer in ours).values(), default=0) > 1:
        return Ambiguity([x.name for x in theirs], [x.name for x in ours], "are norms of layers in another order")
    return pair_lane(theirs, ours, sign)


def _in_piece(theirs: Sequence[Layer], ours: Sequence[Layer], sign: tuple[Signer, Signer]) -> Pairs | Ambiguity:
    """Pair the layers of a piece, each with the only one of its shape."""
    pairs: Pairs = []
    for signature in dict.fromkeys(sign[0](layer) for layer in theirs):
        one = [layer for layer in theirs if sign[0](layer) == signature]
        other = [layer for layer in ours if sign[1](layer) == signature]
        if len(one) > 1:
            return Ambiguity([x.name for x in one], [x.name for x in other], "have the same shape and another order")
        pairs += zip(one, other, strict=True)
    return pairs


def _surplus(layers: Sequence[Layer], signatures: Sequence[Hashable], other: Sequence[Hashable]) -> list[Layer]:
    """Return the layers, the last of each shape, of which the other side has fewer."""
    left = Counter(other)
    found = []
    for layer, signature in zip(layers, signatures, strict=True):
        left[signature] -= 1
        if left[signature] < 0:
            found.append(layer)
    return found


def maps_before(layers: Sequence[Layer]) -> dict[str, str]:
    """Return the map that each norm follows in the order of registration."""
    found, last = {}, ""
    for layer in layers:
        if layer.kind == "map":
            last = layer.name
        elif last:
            found[layer.name] = last
    return found


# --- the order of layers whose names alone are known -----------------------------------------------------------------

_RANK = {word: rank for rank, word in enumerate(WORDS)}
_LONGEST_FIRST = sorted(WORDS, key=len, reverse=True)


def in_execution_order(layers: Sequence[Layer]) -> list[Layer]:
    """Sort layers by their names: known words by their place in a network, numbers and letters by value."""
    return sorted(layers, key=lambda layer: [_part_key(part) for part in layer.name.split(".")])


def uncertain_order(layers: Sequence[Layer], sign: Signer) -> tuple[Layer, Layer] | None:
    """Return two layers of one shape whose names do not say which comes first."""
    last: dict[Hashable, Layer] = {}
    for layer in layers:
        previous = last.get(sign(layer))
        if previous is not None and not _says_which_is_first(previous.name, layer.name):
            return previous, layer
        last[sign(layer)] = layer
    return None


def _part_key(part: str) -> tuple[int, str, list[tuple[int, Any]]]:
    word = next((known for known in _LONGEST_FIRST if part.startswith(known)), None)
    if word is None:
        word = re.match(r"[^\d]*", part)[0]  # type: ignore[index]
        rank = -1
    else:
        rank = _RANK[word]
    rest = re.findall(r"\d+|[A-Za-z]+", part[len(word) :])
    return rank, word, [(0, int(token)) if token.isdigit() else (1, token) for token in rest]


def _says_which_is_first(one: str, other: str) -> bool:
    for a, b in zip(one.split("."), other.split("."), strict=False):
        if a != b:
            (rank_a, word_a, rest_a), (rank_b, word_b, rest_b) = _part_key(a), _part_key(b)
            if word_a != word_b:
                return rank_a >= 0 and rank_b >= 0
            for x, y in zip(rest_a, rest_b, strict=False):
                if x != y:
                    both_numbers, both_letters = x[0] == y[0] == 0, x[0] == y[0] == 1 and len(x[1] + y[1]) == 2
                    return both_numbers or both_letters
            return len(rest_a) != len(rest_b)
    return False
