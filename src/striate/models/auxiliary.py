"""Auxiliary classifiers: how a network tells the training loop about them."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class HasAuxiliaries(Protocol):
    """A network with classifiers on the way that help training only.

    `forward` returns the logits alone, as for every network. While training, the loop calls `forward_auxiliaries`
    instead and adds to the loss, for each auxiliary classifier, its weight times the same loss of its logits.
    """

    auxiliary_weights: dict[str, float]

    def forward_auxiliaries(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits and, by the names of `auxiliary_weights`, the logits of the auxiliary classifiers."""
        ...
