"""From the user's words to the normal form: padding words and integers that mean every axis stop here."""

from collections.abc import Sequence
from operator import index
from typing import Any, SupportsIndex

from striate.errors import InputError, did_you_mean
from striate.geometry._sizes import ceil_div, upsampled_size
from striate.geometry._window import Window

PerAxis = SupportsIndex | Sequence[SupportsIndex]
Padding = str | SupportsIndex | Sequence[SupportsIndex | Sequence[SupportsIndex]]

# the chapter's names (section 5.1.2: narrow, equal-width, wide) beside the ones of the libraries
_WORDS = {"valid": "valid", "narrow": "valid", "same": "same", "equal": "same", "full": "full", "wide": "full"}


def make_window(
    rank: int,
    kernel: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    upsample: PerAxis = 1,
    size: Sequence[int] | None = None,
) -> Window:
    """Return the Window for the user's words on `rank` spatial axes.

    kernel, stride, dilation, upsample: one integer for every axis, or one per axis.
    padding: one of the words below, one integer, or per axis an integer or a (low, high) pair; negative ones crop.

    - "valid" or "narrow": none; n - m + 1 outputs at stride 1.
    - "same" or "equal": as many outputs as inputs, ceil(n / stride) of them; an odd total puts the extra zero at the
      high end (as TensorFlow's "SAME" and ONNX's SAME_UPPER do). At stride 1 that is p = (m - 1) d / 2 at each end
      (exercise 5-7) whatever the input size; at other strides it depends on the size, so `size` must be given.
    - "full" or "wide": the effective kernel - 1 at both ends; n + m - 1 outputs at stride 1.

    Here m is the effective kernel (5.47) and n the input size, after upsampling. Raises InputError.
    """
    unpadded = Window(
        kernel=_per_axis("kernel", kernel, rank),
        stride=_per_axis("stride", stride, rank),
        padding=((0, 0),) * rank,
        dilation=_per_axis("dilation", dilation, rank),
        upsample=_per_axis("upsample", upsample, rank),
    )
    pairs = _word(padding, unpadded, size) if isinstance(padding, str) else _pairs(padding, rank)
    return Window(unpadded.kernel, unpadded.stride, pairs, unpadded.dilation, unpadded.upsample)


def _per_axis(name: str, value: Any, rank: int) -> tuple[int, ...]:
    """One integer >= 1 per axis from an integer or a sequence of `rank` integers."""
    try:
        entries = tuple(_integer(entry) for entry in value) if _is_sequence(value) else (_integer(value),) * rank
    except TypeError:
        entries = ()
    if len(entries) != rank or min(entries, default=0) < 1:
        raise InputError(f"{name} must be an integer of 1 or more, or one per axis ({_axes(rank)}), got {value!r}")
    return entries


def _pairs(value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    try:
        pairs = tuple(_pair(entry) for entry in (value if _is_sequence(value) else (value,) * rank))
    except TypeError:
        pairs = ()
    if len(pairs) != rank:
        raise InputError(
            "padding must be a word ('valid', 'same', 'full'), an integer, or per axis an integer or a (low, high) pair"
            f" ({_axes(rank)}), got {value!r}"
        )
    return pairs


def _word(word: str, window: Window, size: Sequence[int] | None) -> tuple[tuple[int, int], ...]:
    if word not in _WORDS:
        raise InputError(f"unknown padding {word!r}{did_you_mean(word, _WORDS)}")
    match _WORDS[word]:
        case "valid":
            return window.padding
        case "full":
            return tuple((m - 1, m - 1) for m in window.effective_kernel)
        case _:
            return tuple((total // 2, total - total // 2) for total in _same_totals(window, size))


def _same_totals(window: Window, size: Sequence[int] | None) -> tuple[int, ...]:
    """Zeros on each axis, both ends together, that make ceil(n / stride) outputs."""
    if max(window.stride) == 1:
        return tuple(m - 1 for m in window.effective_kernel)
    if size is None:
        raise InputError(f"padding 'same' with stride {window.stride} depends on the input size: give size=")
    return tuple(
        max((ceil_div(n, s) - 1) * s + m - n, 0)
        for n, s, m in zip(upsampled_size(size, window), window.stride, window.effective_kernel, strict=True)
    )


def _integer(value: Any) -> int:
    """Return `value` as an int; raises TypeError for what is none, True and False included."""
    if isinstance(value, bool):
        raise TypeError
    return index(value)


def _is_sequence(value: Any) -> bool:
    return not isinstance(value, str) and hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0


def _pair(value: Any) -> tuple[int, int]:
    if not _is_sequence(value):
        return (_integer(value), _integer(value))
    if len(value) != 2:
        raise TypeError
    return (_integer(value[0]), _integer(value[1]))


def _axes(rank: int) -> str:
    return "1 axis" if rank == 1 else f"{rank} axes"
