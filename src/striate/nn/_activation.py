"""The activation of LeNet-5."""

from torch import Tensor, nn

from striate.ops import scaled_tanh


class ScaledTanh(nn.Module):
    """amplitude * tanh(slope * x); with the defaults f(1) = 1 and f(-1) = -1 (LeCun et al. 1998, appendix A)."""

    def __init__(self, amplitude: float = 1.7159, slope: float = 2 / 3) -> None:
        super().__init__()
        self.amplitude, self.slope = amplitude, slope

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of every element."""
        return scaled_tanh(x, amplitude=self.amplitude, slope=self.slope)

    def extra_repr(self) -> str:
        """Return amplitude and slope."""
        return f"amplitude={self.amplitude:g}, slope={self.slope:g}"
