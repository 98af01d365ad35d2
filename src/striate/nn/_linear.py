"""The dense layer."""

from torch import Tensor, nn

from striate.ops import linear


class Linear(nn.Linear):
    """PyTorch's dense layer; large ones are computed by oneDNN within `striate.ops.onednn_linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input W^T + b."""
        return linear(input, self.weight, self.bias)
