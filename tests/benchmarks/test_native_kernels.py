"""What the kernels are measured beside computes the same."""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import native_kernels as benchmark

from striate import ops


def test_grid_sampling_is_deformable_convolution() -> None:
    generator = torch.Generator().manual_seed(0)
    x, offset, w, mask = (
        torch.randn(size, generator=generator) for size in ((2, 4, 6, 5), (2, 18, 6, 5), (3, 4, 3, 3), (2, 9, 6, 5))
    )
    expected = ops.deform_conv(x, offset, w, mask=mask, padding=1, impl="reference")
    torch.testing.assert_close(benchmark.by_grid_sample(x, offset, w, mask), expected, rtol=1e-4, atol=1e-4)
