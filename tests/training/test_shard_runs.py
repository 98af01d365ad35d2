"""Whole runs on shards: the same as ever, and exact when they are interrupted in the middle of an epoch."""

import json
from pathlib import Path

import pytest
import torch

from commands import striate
from pictures import write_photos
from shards import write_shards
from striate.errors import Interrupted
from striate.training import ModelOptions, Run, fit, named_recipe, resume
from striate.training import _checkpoint as checkpoint

RECIPE = named_recipe("small-color-images").replace(
    model=ModelOptions("convnet", {"blocks": [[1, 4, 1]], "dropout": 0.3}), epochs=2, batch_size=8, ema=0.9
)
RECIPE = RECIPE.set(["data.size=12,12", "augmentation.crop=1", "augmentation.area=1,1", "augmentation.aspect=1"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """More shards than are mixed with each other."""
    return write_shards(tmp_path / "data", {"train": [3] * 11, "val": [8], "test": [8]})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    last = checkpoint.latest(Run.open(folder).checkpoints)
    assert last is not None
    return {
        **last.tensors,
        **{f"best.{k}": v for k, v in checkpoint.read(folder / "checkpoints/best.safetensors").tensors.items()},
    }


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_an_interrupted_run_ends_in_the_same_bits(root: Path, tmp_path: Path, steps: int) -> None:
    """Five steps an epoch: in the first, in the middle, and in the second epoch."""
    fit(RECIPE, str(root), tmp_path / "whole", threads=1)
    asked = iter(range(1, 100))
    with pytest.raises(Interrupted):
        fit(RECIPE, str(root), tmp_path / "run", threads=1, stop=lambda: next(asked) >= steps)
    resume(tmp_path / "run")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_order_is_what_the_split_says(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from striate.data import ShardSplit

    asked = []
    real = ShardSplit.order
    monkeypatch.setattr(ShardSplit, "order", lambda self, *a: asked.append(a) or real(self, *a))
    fit(RECIPE, str(root), tmp_path / "run", threads=1)
    assert asked == [(RECIPE.seed, 0), (RECIPE.seed, 1)]


def test_a_changed_shard_is_refused_when_resuming(root: Path, tmp_path: Path) -> None:
    asked = iter(range(1, 100))
    with pytest.raises(Interrupted):
        fit(RECIPE, str(root), tmp_path / "run", threads=1, stop=lambda: next(asked) >= 2)
    (root / "train-000004.tar").write_bytes((root / "val-000000.tar").read_bytes())
    outcome = striate("train", "--resume", tmp_path / "run")
    assert outcome.code == 2
    assert "is not what this run began with" in outcome.err


def test_from_a_folder_to_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command on the way; shards of a folder give the run that the folder gives, but for the order."""
    write_photos(tmp_path / "photos", per_class=20)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "dark" / "cut.png").write_bytes((tmp_path / "photos" / "dark" / "1.png").read_bytes()[:80])
    outcome = striate("shards", "photos", "shards")
    assert outcome.code == 2
    assert "cut.png" in outcome.err
    outcome = striate("shards", "photos", "shards", "--skip-unreadable", "--json")
    assert outcome.code == 0, outcome.err
    assert "left out photos/dark/cut.png" in outcome.err
    result = json.loads(outcome.out)
    assert sum(split["samples"] for split in result["splits"].values()) == 40
    outcome = striate("shards", "photos", "shards")
    assert outcome.code == 2
    small = ("--set", "epochs=1", "--set", "data.size=16,16", "--set", "model.options.blocks=[[1,4,1]]", "--threads", 1)
    outcome = striate("train", "shards/", *small, "--out", "run", "--json")
    assert outcome.code == 0, outcome.err
    trained = json.loads(outcome.out)
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert recorded["where"] == str(tmp_path / "shards")
    pattern = "shards/{train,val,test}-000000.tar"
    for where in ("shards", pattern):
        outcome = striate("evaluate", "run", where, "--json")
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["accuracy"] == trained["accuracy"]
    uses = [json.loads(line) for line in (tmp_path / "run" / "tests.jsonl").read_text().splitlines()]
    assert [use["own"] for use in uses] == [True, True, True]
    outcome = striate("train", pattern, *small)
    assert outcome.code == 0, outcome.err
    assert [path.name[:7] for path in (tmp_path / "runs").iterdir()] == ["data-co"]
    assert striate("verify", "run/model.striate").code == 0
    assert "are shards, checked when they are opened" in striate("doctor", "shards").err
    outcome = striate("shards", "photos", "more", "--skip-unreadable")
    assert "striate train more" in outcome.out
