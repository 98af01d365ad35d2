"""A graph of layers as a tree: layers in series, and branches side by side that a layer joins."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from striate.insight._layer_graph import CONCAT, CONV, DENSE, LRN, Layer, LayerGraph


@dataclass(frozen=True)
class Branches:
    """Series with one input whose results `join` puts together; an empty series is a connection past the others."""

    join: Layer
    series: tuple["Series", ...]


Element = Layer | Branches
Series = tuple[Element, ...]


def layer_tree(graph: LayerGraph) -> Series:
    """Return the network as a series; parts in which branches share layers stay in the order of execution."""
    return _folded(_Decomposer(graph).series(0, graph.output))


def key(element: Element) -> Any:
    """Return what an element is, whatever its name."""
    if isinstance(element, Layer):
        return element.kind, element.settings
    branches = tuple(map(series_key, element.series))
    return element.join.kind, element.join.settings, branches


def series_key(series: Series) -> tuple[Any, ...]:
    """Return what a series is, whatever its names."""
    return tuple(map(key, series))


def leaves(series: Series) -> Iterator[Layer]:
    """Yield the layers of a series, joins behind their branches."""
    for element in series:
        if isinstance(element, Layer):
            yield element
        else:
            for branch in element.series:
                yield from leaves(branch)
            yield element.join


class _Decomposer:
    def __init__(self, graph: LayerGraph) -> None:
        self.layers = graph.layers
        self.above: dict[int, int] = {0: 0}  # the nearest layer that every way from the input comes through
        self.depth: dict[int, int] = {0: 0}
        for number, layer in graph.layers.items():
            nearest = layer.inputs[0]
            for other in layer.inputs[1:]:
                nearest = self._common(nearest, other)
            self.above[number], self.depth[number] = nearest, self.depth[nearest] + 1

    def series(self, start: int, end: int) -> Series:
        """Return the elements behind layer `start` up to and with layer `end`."""
        elements: list[Element] = []
        while end != start:
            layer, above = self.layers[end], self.above[end]
            if len(layer.inputs) == 1:
                elements.append(layer)
            else:
                inside = [self._between(above, number) for number in layer.inputs]
                if sum(map(len, inside)) == len(set().union(*inside)):
                    branches = tuple(self.series(above, number) for number in layer.inputs)
                    elements.append(Branches(layer, branches))
                else:
                    elements.append(layer)
                    elements += [self.layers[number] for number in sorted(set().union(*inside), reverse=True)]
            end = above
        return tuple(reversed(elements))

    def _between(self, start: int, end: int) -> set[int]:
        found, left = set[int](), [end]
        while left:
            number = left.pop()
            if number != start and number not in found:
                found.add(number)
                left += self.layers[number].inputs
        return found

    def _common(self, a: int, b: int) -> int:
        while a != b:
            if self.depth[a] >= self.depth[b]:
                a = self.above[a]
            else:
                b = self.above[b]
        return a


def _folded(series: Series) -> Series:
    """Write equal branches that are concatenated as one series of grouped layers, which is the same function."""
    elements: list[Element] = []
    for element in series:
        if isinstance(element, Layer):
            elements.append(element)
            continue
        branches = tuple(_folded(branch) for branch in element.series)
        if _are_groups(element.join, branches):
            elements += [_grouped([branch[i] for branch in branches], i == 0) for i in range(len(branches[0]))]
        else:
            elements.append(Branches(element.join, branches))
    return tuple(elements)


def _are_groups(join: Layer, branches: tuple[Series, ...]) -> bool:
    """Whether each branch begins with a convolution or dense layer of the common input, and all are equal layers."""
    first = branches[0]
    return (
        join.kind == CONCAT
        and dict(join.settings)["axis"] == 1
        and bool(first)
        and all(isinstance(element, Layer) for element in first)
        and isinstance(first[0], Layer)
        and first[0].kind in {CONV, DENSE}
        and len({series_key(branch) for branch in branches}) == 1
    )


def _grouped(same: list[Element], first: bool) -> Element:
    one = same[0]
    assert isinstance(one, Layer)
    settings, count = dict(one.settings), len(same)
    for word in ("maps", "units"):
        if word in settings:
            settings[word] *= count
    if one.kind in {CONV, DENSE} and not first:
        settings["groups"] = settings.get("groups", 1) * count
    if one.kind == LRN:
        settings["groups"] = count
    parts = [layer.path.split(".") for layer in same if isinstance(layer, Layer)]
    common = [part for part in parts[0] if all(part in other for other in parts)]
    return replace(one, settings=tuple(settings.items()), path=".".join(common))
