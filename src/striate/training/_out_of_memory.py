"""A training that takes more memory than there is, said in one sentence."""

import contextlib
from collections.abc import Iterator

import torch

from striate.errors import StriateError
from striate.training._recipe import Recipe

_WORDS = ("not enough memory", "can't allocate memory", "out of memory", "bad_alloc", "could not allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had; PyTorch says so on CPUs with a RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


@contextlib.contextmanager
def told_of_memory(recipe: Recipe) -> Iterator[None]:
    """Within the block, an error for want of memory becomes a StriateError with the remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        parts = recipe.micro_batch or recipe.batch_size
        smaller = f"--set micro_batch={parts // 2}" if parts > 1 else "smaller pictures, --set data.size=64,64"
        raise StriateError(
            f"out of memory with {parts} picture{'s' if parts > 1 else ''} at once: start a new run with --fit-memory "
            f"auto, which measures how many fit, or with {smaller}"
        ) from error
