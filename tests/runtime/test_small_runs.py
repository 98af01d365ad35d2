"""Runs whose network is computed as one: they learn the same, are resumed to the bit, and are judged as they were."""

import json
from pathlib import Path

import pytest
import torch

from commands import striate
from kernel_checks import needs_extension
from striate.bundle import save_trained
from striate.runtime import RuntimeOptions
from striate.training import Interrupted, Run, Trained, fit, named_recipe, resume
from striate.training import _checkpoint as checkpoint

pytestmark = needs_extension


def weights(folder: Path) -> dict[str, torch.Tensor]:
    saved = checkpoint.latest(Run.open(folder).checkpoints)
    assert saved is not None
    return saved.tensors


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Trained]:
    """LeNet-5 computed as one, and layer by layer."""
    room = tmp_path_factory.mktemp("small")
    recipe = named_recipe("digits").replace(epochs=1)
    return {
        asked: fit(recipe, "digits", room / str(asked), threads=1, runtime=RuntimeOptions(small=asked))
        for asked in (True, False)
    }


def test_small_networks_learn_the_same(small_runs: dict[bool, Trained]) -> None:
    one, layers = (small_runs[asked] for asked in (True, False))
    assert (one.run.runtime.small, layers.run.runtime.small) == (True, False)
    assert one.run.runtime.reasons["small"].startswith("small networks")
    found, expected = (weights(trained.run.folder) for trained in (one, layers))
    assert not same(found, expected)  # another order of sums
    for name, tensor in expected.items():
        if name.startswith("model."):
            assert float((found[name] - tensor).abs().max()) <= 2e-3 * float(tensor.abs().max()), name
    first, other = (
        [json.loads(line) for line in (trained.run.folder / "error_terms.jsonl").read_text().splitlines()]
        for trained in (one, layers)
    )
    assert [row["layers"] for row in first] == [row["layers"] for row in other]
    assert first[0] == other[0]  # of the weights that training begins with: the layers themselves compute them


def test_small_networks_are_judged_and_resumed_as_they_were_trained(
    tmp_path: Path, small_runs: dict[bool, Trained]
) -> None:
    asked = iter([False] * 10 + [True])
    with pytest.raises(Interrupted):
        fit(small_runs[True].run.recipe, "digits", tmp_path / "run", threads=1, stop=lambda: next(asked))
    resumed = resume(tmp_path / "run")
    assert resumed.run.runtime.small
    assert same(weights(tmp_path / "run"), weights(small_runs[True].run.folder))
    code, out, err = striate("evaluate", save_trained(small_runs[True]), "digits", "--json", "--threads", 1)
    assert code == 0, err
    assert json.loads(out)["calibrated"] == json.loads(json.dumps(small_runs[True].evaluation.to_json()))["calibrated"]
