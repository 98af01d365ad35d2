"""Normalisation layers."""

from torch import Tensor, nn

from striate import ops
from striate.nn._settings import different, require_counts


class LocalResponseNorm(nn.Module):
    """Local response normalisation across channels (Krizhevsky et al. 2012): `ops.local_response_norm`, its settings.

    The defaults are the paper's. alpha is not divided by size: the one of `torch.nn.LocalResponseNorm` is this one
    times size. Raises InputError.
    """

    def __init__(self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        require_counts(self, "size")

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised input."""
        return ops.local_response_norm(x, size=self.size, alpha=self.alpha, beta=self.beta, k=self.k)

    def extra_repr(self) -> str:
        """Return the size and the settings that differ from the defaults."""
        return ", ".join([f"size={self.size}", *different(self, alpha=1e-4, beta=0.75, k=2.0)])
