"""Radial basis functions by broadcasting: exact where the expanded square would cancel."""

from typing import Any

from torch import Tensor

from striate.ops._rbf import RbfForm


def supports(_form: RbfForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(_form: RbfForm, x: Tensor, centres: Tensor) -> Tensor:
    """Return N x K."""
    return (x[:, None] - centres).square().sum(dim=2)
