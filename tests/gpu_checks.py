"""What the tests on a GPU share: `python -m pytest -k gpu`; where PyTorch finds none they are skipped."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU here")


@contextmanager
def whole_float32() -> Iterator[None]:
    """Convolutions of float32 without TF32, whose products have 10 bits of 23."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
