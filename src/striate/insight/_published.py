"""The figures that a paper prints, against those of the network as it is built here."""

from typing import NamedTuple

import torch

from striate.errors import InputError
from striate.insight._summary import Summary, summarize
from striate.models import Published, build_as_published, published


class Checked(NamedTuple):
    """A printed figure, ours, and whether they agree: within its rounding, or in the departure that is stated."""

    figure: Published
    ours: int | tuple[int, ...] | None  # None: there is no such layer
    agrees: bool


def check_published(name: str) -> list[Checked]:
    """Count what a paper states of a network, on the network built as published, and compare figure by figure.

    Nothing is computed: the network has no numbers. Raises InputError for an unknown name.
    """
    figures = published(name)
    if not figures:
        return []
    with torch.device("meta"):
        model = build_as_published(name)
    summary = summarize(model)
    if summary.failure is not None:
        raise InputError(f"{name}: {summary.failure}")
    return [_check(figure, summary) for figure in figures]


def _check(figure: Published, summary: Summary) -> Checked:
    try:
        ours = _count(figure, summary)
    except InputError:
        return Checked(figure, None, agrees=False)
    if figure.ours is not None:
        return Checked(figure, ours, agrees=ours == figure.ours)
    if isinstance(ours, tuple) or isinstance(figure.value, tuple):
        return Checked(figure, ours, agrees=ours == figure.value)
    return Checked(figure, ours, agrees=abs(ours - figure.value) <= figure.tolerance)


def _count(figure: Published, summary: Summary) -> int | tuple[int, ...]:
    if figure.quantity == "output_size":
        return summary.output_size(figure.layer)
    total: int = getattr(summary.totals(figure.layer, figure.without), figure.quantity)
    return total
