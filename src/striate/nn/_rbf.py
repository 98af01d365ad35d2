"""The output layer of LeNet-5: distances, and logits made of them."""

from torch import Tensor, nn

from striate import ops
from striate.errors import InputError


class RBF(nn.Module):
    """Euclidean radial basis functions: the squared distance of an input to every centre (LeCun et al. 1998, (7)).

    centres: K x D numbers, copied; a buffer unless `trainable`. Input N x D, output N x K: small is near. Raises
    InputError.
    """

    centres: Tensor

    def __init__(self, centres: Tensor, *, trainable: bool = False) -> None:
        super().__init__()
        if not isinstance(centres, Tensor) or centres.ndim != 2 or not centres.is_floating_point():
            got = tuple(centres.shape) if isinstance(centres, Tensor) else type(centres).__name__
            raise InputError(f"RBF: centres must be a floating-point tensor, classes x features, got {got}")
        centres = centres.detach().clone()
        if trainable:
            self.centres = nn.Parameter(centres)
        else:
            self.register_buffer("centres", centres)

    def forward(self, x: Tensor) -> Tensor:
        """Return the squared distances, N x K."""
        return ops.rbf(x, self.centres)

    def extra_repr(self) -> str:
        """Return the sizes, and whether the centres are trained."""
        classes, features = self.centres.shape
        trainable = ", trainable=True" if isinstance(self.centres, nn.Parameter) else ""
        return f"classes={classes}, features={features}{trainable}"


class Negative(nn.Module):
    """Minus its input: squared distances become logits, of which the nearest centre has the largest."""

    def forward(self, x: Tensor) -> Tensor:
        """Return -x."""
        return -x
