"""The highway layer."""

from torch import Tensor, nn

from striate import ops
from striate.errors import InputError


class Highway(nn.Module):
    """A highway layer: `ops.highway` of the input and what two modules make of it (Srivastava et al. 2015, eq. 2, 3).

    y = H(x) T(x) + x (1 - T(x)), T(x) = sigmoid(gate(x)). transform: H, a module with its activation that keeps the
    shape of its input. gate: a module of the same kind without activation, with a `bias`, for example a `Conv`; the
    bias starts at gate_bias: negative, so that the layer begins by carrying its input (section 2.2). Raises InputError.
    """

    def __init__(self, transform: nn.Module, gate: nn.Module, *, gate_bias: float = -2.0) -> None:
        super().__init__()
        bias = getattr(gate, "bias", None)
        if not isinstance(bias, nn.Parameter):
            raise InputError(f"Highway: the gate needs a bias, which starts at {gate_bias:g}; got {gate}")
        self.transform, self.gate = transform, gate
        nn.init.constant_(bias, gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x."""
        return ops.highway(x, self.transform(x), self.gate(x).sigmoid())
