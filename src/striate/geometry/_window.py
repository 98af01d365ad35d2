"""The normal form of a sliding window: one entry per axis, no words, no unions."""

from dataclasses import dataclass, field

from striate.errors import InputError


@dataclass(frozen=True)
class Window:
    """How a window slides over an input, one entry per spatial axis.

    On each axis, output position o reads input position i through kernel position k if and only if

        o * stride + k * dilation - low = i * upsample,    padding = (low, high)

    `stride` is the step between windows, `dilation` the step between the positions inside one (chapter 5.5.2),
    `upsample` - 1 zeros stand between neighbouring inputs (chapter 5.5.1), and `low` and `high` zeros around them;
    a negative padding crops. Both count positions after the upsampling. Raises InputError for anything else.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    upsample: tuple[int, ...]

    effective_kernel: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Extent of the dilated kernel on each axis: m + (m - 1)(d - 1), equation (5.47)."""
    symmetric_padding: tuple[int, ...] | None = field(init=False, repr=False, compare=False)
    """The padding as one number per axis, or None if the ends differ on some axis or something is cropped."""

    def __post_init__(self) -> None:
        self._validate()
        effective = tuple(m + (m - 1) * (d - 1) for m, d in zip(self.kernel, self.dilation, strict=True))
        symmetric = all(low == high and low >= 0 for low, high in self.padding)
        object.__setattr__(self, "effective_kernel", effective)
        object.__setattr__(self, "symmetric_padding", tuple(low for low, _ in self.padding) if symmetric else None)

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def upsamples(self) -> bool:
        """Whether zeros stand between the inputs on some axis."""
        return max(self.upsample) > 1

    def _validate(self) -> None:
        for name in ("kernel", "stride", "padding", "dilation", "upsample"):
            entries = getattr(self, name)
            if not isinstance(entries, tuple):
                raise InputError(f"{name} must be a tuple, one entry per axis, got {entries!r}; see make_window")
            if not entries:
                raise InputError("a window needs at least one axis, got no entries")
            if len(entries) != self.rank:
                raise InputError(f"{name} needs one entry per axis of the kernel {self.kernel}, got {entries}")
            if name != "padding" and min(entries) < 1:
                raise InputError(f"{name} must be 1 or more on every axis, got {entries}")
        if any(len(pair) != 2 for pair in self.padding):
            raise InputError(f"padding needs one (low, high) pair per axis, got {self.padding}")
