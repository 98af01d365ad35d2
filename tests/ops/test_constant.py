"""The mark for torch.compile is the one that PyTorch sets."""

import torch

from striate.ops._constant import constant


def test_the_mark_is_pytorchs_own() -> None:
    ours, theirs = constant(lambda: 1), torch.compiler.assume_constant_result(lambda: 1)
    assert vars(ours) == vars(theirs) != {}


def test_the_compiler_takes_the_result_as_it_is() -> None:
    """What cannot be traced leaves no break in the graph."""
    torch.compiler.reset()
    found = constant(lambda: len(open(__file__).readline()))  # noqa: PTH123, SIM115

    @torch.compile(backend="eager", fullgraph=True)
    def longer(x: torch.Tensor) -> torch.Tensor:
        return x + found()

    assert longer(torch.zeros(1)).item() == found() > 0
