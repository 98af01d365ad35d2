"""The cheapest way to turn one tree of layers into another: which layers belong together, which are new, which gone."""

from collections.abc import Iterator
from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

from striate.insight._layer_graph import (
    ADD,
    BATCH_NORM,
    CONCAT,
    CONV,
    CONV_TRANSPOSE,
    DEFORM,
    DENSE,
    DROPOUT,
    GLOBAL,
    MAX,
    MEAN,
    Layer,
)
from striate.insight._layer_tree import Branches, Element, Series, key, leaves, series_key


class Edit(NamedTuple):
    """A layer here and the one in its place there; None where there is none.

    `before` is what a layer of one side follows on that side; those that follow each other have the same `run`.
    """

    here: Layer | None
    there: Layer | None
    before: Layer | None = None
    run: int = -1


_WEIGHTS = {CONV: 2.0, CONV_TRANSPOSE: 2.0, DEFORM: 2.0, DENSE: 2.0, DROPOUT: 0.3, BATCH_NORM: 0.6}
_CHANGES = {"kernel": 0.4, "maps": 0.2, "units": 0.2, "stride": 0.25, "dilation": 0.2, "groups": 0.2, "bias": 0.05}
_FAMILIES = (
    {MAX, MEAN, GLOBAL, "trainable subsampling", "adaptive max pooling", "adaptive mean pooling"},
    {CONV, DEFORM, DENSE},
    {DENSE, "RBF units"},
    {ADD, CONCAT, "highway", "multiplication"},
)
_EQUAL = 1e-9
_MOST_PERMUTED = 6  # branches; more are taken in their order


class Aligner:
    """Aligns series; what two elements cost is remembered by what they are."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.elements: dict[int, Element] = {}
        self.series: dict[int, Series] = {}
        self.run = 0
        self.cost = cache(self._cost)
        self.series_cost = cache(self._series_cost)

    def align(self, here: Series, there: Series) -> list[Edit]:
        """Return an edit for every layer of both, in order."""
        edits: list[Edit] = []
        self._align(here, there, (None, None), edits)
        return edits

    def _align(self, here: Series, there: Series, before: tuple[Layer | None, Layer | None], edits: list[Edit]) -> None:
        """Append the edits of two series; `before` are the layers that they follow, here and there."""
        side = 0  # of the last elements: -1 here only, 1 there only, 0 both
        for one, other in _matched(here, there, *self._table(here[::-1], there[::-1])):
            last, side = side, (one is None) - (other is None)
            if side != last or isinstance(one, Branches) or isinstance(other, Branches):
                self.run += 1
            if one is None or other is None:
                before = self._one_sided(one, other, before, edits)
                continue
            if isinstance(one, Layer) and isinstance(other, Layer):
                edits.append(Edit(one, other))
            elif isinstance(one, Branches) and isinstance(other, Branches):
                for i, j in enumerate(self._assignment(one, other)):
                    self._align(_at(one.series, i), _at(other.series, j), before, edits)
                edits.append(Edit(one.join, other.join))
            before = _last(one), _last(other)

    def _one_sided(
        self,
        one: Element | None,
        other: Element | None,
        before: tuple[Layer | None, Layer | None],
        edits: list[Edit],
    ) -> tuple[Layer | None, Layer | None]:
        for layer in leaves((one,) if one is not None else ()):
            edits.append(Edit(layer, None, before[0], self.run))
            before = layer, before[1]
        for layer in leaves((other,) if other is not None else ()):
            edits.append(Edit(None, layer, before[1], self.run))
            before = before[0], layer
        return before

    def _table(self, here: Series, there: Series) -> tuple[list[list[float]], list[list[float]]]:
        """Return the cost of turning each beginning of one series into each beginning of the other, and of pairs."""
        a, b = [self._number(x) for x in here], [self._number(x) for x in there]
        removal, addition = [_price(x) for x in here], [_price(x) for x in there]
        rows = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
        pair = [[0.0] * len(b) for _ in a]
        for j, price in enumerate(addition):
            rows[0][j + 1] = rows[0][j] + price
        for i, x in enumerate(a):
            above, row = rows[i], rows[i + 1]
            row[0] = above[0] + removal[i]
            for j, y in enumerate(b):
                cost = 0.0 if x == y else self.cost(x, y)
                pair[i][j] = cost
                row[j + 1] = min(above[j] + cost, above[j + 1] + removal[i], row[j] + addition[j])
        return rows, pair

    def _number(self, element: Element) -> int:
        number = self.numbers.setdefault(key(element), len(self.numbers))
        self.elements.setdefault(number, element)
        return number

    def _cost(self, a: int, b: int) -> float:
        one, other = self.elements[a], self.elements[b]
        if isinstance(one, Layer) and isinstance(other, Layer):
            return _change(one, other)
        if isinstance(one, Branches) and isinstance(other, Branches):
            order = self._assignment(one, other)
            pairs = [(_at(one.series, i), _at(other.series, j)) for i, j in enumerate(order)]
            return _change(one.join, other.join) + sum(self.distance(x, y) for x, y in pairs)
        return _price(one) + _price(other) + 1.0

    def distance(self, here: Series, there: Series) -> float:
        """Return what it costs to turn one series into another."""
        a, b = self._series_number(here), self._series_number(there)
        return 0.0 if a == b else self.series_cost(a, b)

    def _series_number(self, series: Series) -> int:
        number = self.numbers.setdefault(series_key(series), len(self.numbers))
        self.series.setdefault(number, series)
        return number

    def _series_cost(self, a: int, b: int) -> float:
        return self._table(self.series[a], self.series[b])[0][-1][-1]

    def _assignment(self, one: Branches, other: Branches) -> tuple[int, ...]:
        """Return which branch there belongs to each branch here, the order kept where nothing speaks against it."""
        count = max(len(one.series), len(other.series))
        if count > _MOST_PERMUTED:
            return tuple(range(count))
        cost = [[self.distance(_at(one.series, i), _at(other.series, j)) for j in range(count)] for i in range(count)]
        return min(permutations(range(count)), key=lambda order: sum(cost[i][j] for i, j in enumerate(order)))


def _matched(
    here: Series, there: Series, rows: list[list[float]], pair: list[list[float]]
) -> Iterator[tuple[Element | None, Element | None]]:
    """Yield the pairs of the cheapest way, from the first to the last; of equal ways the one that pairs early.

    The table is that of both series turned around.
    """
    i, j = len(here), len(there)
    while i or j:
        if i and j and abs(rows[i][j] - rows[i - 1][j - 1] - pair[i - 1][j - 1]) < _EQUAL:
            yield here[-i], there[-j]
            i, j = i - 1, j - 1
        elif j and abs(rows[i][j] - rows[i][j - 1] - _price(there[-j])) < _EQUAL:
            yield None, there[-j]
            j -= 1
        else:
            yield here[-i], None
            i -= 1


def _change(one: Layer, other: Layer) -> float:
    if one.kind != other.kind:
        both = {one.kind, other.kind}
        related = any(both <= family for family in _FAMILIES) or all(k.startswith("activation") for k in both)
        return 0.5 if related else _price(one) + _price(other) + 1.0
    a, b = dict(one.settings), dict(other.settings)
    return min(0.95, sum(_CHANGES.get(word, 0.1) for word in a.keys() | b.keys() if a.get(word) != b.get(word)))


def _price(element: Element) -> float:
    if isinstance(element, Layer):
        return _WEIGHTS.get(element.kind, 1.0)
    return sum(map(_price, leaves((element,))))


def _at(series: tuple[Series, ...], i: int) -> Series:
    return series[i] if i < len(series) else ()


def _last(element: Element) -> Layer:
    return element if isinstance(element, Layer) else element.join
