"""A run on the embedded digits that the tests of the other commands use."""

from pathlib import Path

import pytest

from commands import Outcome, striate


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The run folder of a short training of a small network, and what the command printed."""
    run = tmp_path_factory.mktemp("cli") / "run"
    network = ("model.options.blocks=[[1,16,2],[1,32,1]]", "model.options.pool=flatten", "model.options.dropout=0")
    settings = ("epochs=3", "ema=0", "batch_size=32", "augmentation.shear=0", *network)
    outcome = striate(
        "train",
        "digits",
        "--model",
        "convnet",
        "--out",
        run,
        "--threads",
        1,
        *(a for s in settings for a in ("--set", s)),
    )
    return run, outcome


@pytest.fixture(scope="session")
def bundle(trained: tuple[Path, Outcome]) -> Path:
    """The bundle of that run."""
    return trained[0] / "model.striate"
