"""Receptive fields on one axis: which inputs a unit of a map depends on, through windows, resampling and branches."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, gcd, lcm

from striate.errors import InputError

Interval = tuple[int, int]

_MOST_PHASES = 4096  # beyond, a field is replaced by a bound on it


@dataclass(frozen=True)
class Field:
    """The receptive fields of all units of a map on one axis of an input of `extent` positions.

    Unit o depends on inputs from first to last of `interval(o)`: the smallest interval around them, which the gaps of a
    dilated kernel do not fill. `phases` are the intervals of the first units, None for a unit that depends on nothing
    (as between the outputs of a transposed convolution of small kernel); from there on they repeat, `stride` inputs
    further per unit: the effective stride, a fraction after upsampling. Where they do not `move` they are the same for
    all units: every unit sees what any of them sees. Intervals reach into the padding around the input, as if the maps
    went on. Not `exact`: a bound, the true field may be smaller.
    """

    extent: int
    phases: tuple[Interval | None, ...] = ((0, 0),)
    stride: Fraction = Fraction(1)
    moves: bool = True
    exact: bool = True

    def __post_init__(self) -> None:
        if self.extent < 1 or not self.phases or (self.stride * len(self.phases)).denominator != 1:
            raise InputError(f"a receptive field's phases must advance by whole inputs, got {self}")

    @classmethod
    def whole(cls, extent: int, *, stride: Fraction = Fraction(1), exact: bool = True) -> "Field":
        """Return the field of units that depend on every input."""
        phases: tuple[Interval, ...] = ((0, extent - 1),) * stride.denominator
        return cls(extent, phases, stride, moves=False, exact=exact)

    @property
    def size(self) -> int:
        """The number of inputs from the first to the last, the largest of any unit."""
        return max((last - first + 1 for first, last in filter(None, self.phases)), default=0)

    def interval(self, unit: int) -> Interval | None:
        """Return the first and the last input on which a unit depends."""
        period, phase = divmod(unit, len(self.phases))
        found = self.phases[phase]
        shift = int(period * len(self.phases) * self.stride) if self.moves else 0
        return None if found is None else (found[0] + shift, found[1] + shift)

    def read(self, ratio: Fraction, places: Callable[[int], Iterable[int]], *, units: int) -> "Field":
        """Return the field of a map of `units` units, of which unit o depends on the units places(o) of this one.

        ratio: how many units of this map a unit of that one advances by: places(o + k) = places(o) + k * ratio wherever
        k * ratio is a whole number.
        """
        period = ratio.denominator * (len(self.phases) // gcd(ratio.numerator, len(self.phases)))
        if period > _MOST_PHASES:
            return self._covered(lambda unit: self._hull(places(unit)), self.stride * ratio, units)
        phases = tuple(self._hull(places(unit)) for unit in range(period))
        return replace(self, phases=phases, stride=self.stride * ratio)

    def window(
        self, kernel: int, *, units: int, stride: int = 1, low: int = 0, dilation: int = 1, upsample: int = 1
    ) -> "Field":
        """Return the field after a window as `Window` defines it on one axis, `units` outputs of it."""

        def places(unit: int) -> list[int]:
            taps = [unit * stride + k * dilation - low for k in range(kernel)]
            if upsample == 1 and len(self.phases) == 1:
                return [taps[0], taps[-1]]
            return [tap // upsample for tap in taps if tap % upsample == 0]

        return self.read(Fraction(stride, upsample), places, units=units)

    def resample(self, ratio: Fraction, shift: Fraction, reach: tuple[int, int], *, units: int) -> "Field":
        """Return the field after interpolation: unit o lies at o * ratio + shift between the units of this map.

        reach: how many units below and above the place are read, (0, 1) for linear interpolation and (1, 2) for cubic;
        a place on a unit reads that one alone. With (0, 0) it reads the one below: the nearest.
        """

        def places(unit: int) -> range:
            place = unit * ratio + shift
            below = floor(place)
            if place == below or reach == (0, 0):
                return range(below, below + 1)
            return range(below - reach[0], below + reach[1] + 1)

        return self.read(ratio, places, units=units)

    def bins(self, inputs: int, outputs: int) -> "Field":
        """Return the field after adaptive pooling of `inputs` units to `outputs` bins, which may overlap."""
        ratio = Fraction(inputs, outputs)
        return self.read(ratio, lambda unit: range(floor(unit * ratio), ceil((unit + 1) * ratio)), units=outputs)

    def span(self, units: int, *, keep_stride: bool = False) -> "Field":
        """Return the field of something that depends on all of a map's units, clipped to the input.

        Its stride is all that these units cover, or, where it is a map still, what it was.
        """
        first, last = self._hull(range(units)) or (0, 0)
        clipped = (max(min(first, self.extent - 1), 0), max(min(last, self.extent - 1), 0))
        stride = self.stride if keep_stride else self.stride * units
        return replace(self, phases=(clipped,) * stride.denominator, stride=stride, moves=False)

    def join(self, other: "Field", *, units: int) -> "Field":
        """Return the field of units that depend on the units of two maps at the same place, `units` of them.

        Branches of different effective strides do not stay aligned: theirs is a bound that moves by the larger stride.
        """
        exact = self.exact and other.exact
        if not self.moves or not other.moves:
            still, moving = (self, other) if not self.moves else (other, self)
            hull = _hull([still.interval(0), moving.span(units).interval(0)])
            exact = exact and (hull == still.interval(0) or not moving.moves)  # else moving would add to it bit by bit
            stride = moving.stride
            return Field(self.extent, (hull,) * stride.denominator, stride, moves=False, exact=exact)
        period = lcm(len(self.phases), len(other.phases))
        if self.stride != other.stride or period > _MOST_PHASES:
            bound = self._covered(
                lambda unit: _hull([self.interval(unit), other.interval(unit)]), max(self.stride, other.stride), units
            )
            return replace(bound, exact=False)
        phases = tuple(_hull([self.interval(unit), other.interval(unit)]) for unit in range(period))
        return Field(self.extent, phases, self.stride, exact=exact)

    def bound(self) -> "Field":
        """Return the same field as a bound."""
        return replace(self, exact=False)

    def _hull(self, units: Iterable[int]) -> Interval | None:
        return _hull(self.interval(unit) for unit in units)

    def _covered(self, interval: Callable[[int], Interval | None], stride: Fraction, units: int) -> "Field":
        """Return a bound on the intervals of `units` units that moves evenly, by about `stride` inputs per unit."""
        stride = stride.limit_denominator(64)
        starts = [floor(unit * stride) for unit in range(units)]
        offsets = [
            (found[0] - start, found[1] - start)
            for unit, start in enumerate(starts)
            if (found := interval(unit)) is not None
        ]
        low, high = _hull(offsets) or (0, 0)
        phases = tuple((floor(r * stride) + low, floor(r * stride) + high) for r in range(stride.denominator))
        return Field(self.extent, phases, stride, exact=False)


def _hull(intervals: Iterable[Interval | None]) -> Interval | None:
    """Return the smallest interval around several."""
    found = [interval for interval in intervals if interval is not None]
    return (min(first for first, _ in found), max(last for _, last in found)) if found else None
