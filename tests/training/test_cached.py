"""Training from the cache of decoded pictures is training: to the last bit, also where a run goes on without it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pictures import write_photos
from striate.errors import Interrupted
from striate.training import Listener, Recipe, Run, fit, named_recipe, resume
from striate.training import _checkpoint as checkpoint

RECIPE = named_recipe("photos").set(
    ["data.size=16,16", "model.options.blocks=[[1,4,1]]", "epochs=2", "batch_size=8", "augmentation.randaugment=1"]
)


class Notes(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    run = Run.open(folder)
    last = checkpoint.latest(run.checkpoints)
    assert last is not None
    return {**last.tensors, **{f"best.{k}": v for k, v in checkpoint.read(run.best).tensors.items()}}


def require_same(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (a / "evaluation.json").read_text() == (b / "evaluation.json").read_text()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "photos"
    write_photos(root, per_class=16)
    return root


@pytest.fixture(scope="module")
def uncached(photos: Path) -> Path:
    fit(RECIPE, str(photos), photos.parent / "uncached", threads=1)
    return photos.parent / "uncached"


def stopped(recipe: Recipe, photos: Path, run: Path, **arguments: Any) -> None:
    asked = iter(range(3))  # in the middle of the first epoch
    with pytest.raises(Interrupted):
        fit(recipe, str(photos), run, threads=1, stop=lambda: next(asked) == 1, **arguments)


def test_the_same_bits_with_and_without(photos: Path, uncached: Path, tmp_path: Path) -> None:
    for name in ("made", "read"):
        notes = Notes()
        fit(RECIPE, str(photos), tmp_path / name, threads=1, cache=tmp_path / "cache", listener=notes)
        assert any("32 decoded pictures are kept in" in note for note in notes.notes) == (name == "made")
        require_same(tmp_path / name, uncached)


@pytest.mark.parametrize(("before", "after"), [("cache", None), ("cache", False), (None, "cache")])
def test_a_run_goes_on_with_or_without(
    photos: Path, uncached: Path, tmp_path: Path, before: str | None, after: str | bool | None
) -> None:
    stopped(RECIPE, photos, tmp_path / "run", cache=before and tmp_path / before)
    assert Run.open(tmp_path / "run").cache == (before and str(tmp_path / before))
    for pack in tmp_path.glob("cache/*.pack"):
        pack.unlink()
    resume(tmp_path / "run", cache=tmp_path / after if isinstance(after, str) else False if after is False else None)
    assert any(tmp_path.glob("cache/*.pack")) == (after is not False)  # None: as it began
    require_same(tmp_path / "run", uncached)


def test_a_cache_that_breaks_on_the_way_changes_nothing(photos: Path, uncached: Path, tmp_path: Path) -> None:
    class Breaks(Notes):
        def step(self, step: Any) -> None:
            for pack in tmp_path.glob("cache/*.pack"):
                with pack.open("r+b") as file:
                    file.write(bytes(5000))

    listener = Breaks()
    fit(RECIPE, str(photos), tmp_path / "run", threads=1, cache=tmp_path / "cache", listener=listener)
    assert sum("is damaged: what it has lost is decoded" in note for note in listener.notes) == 1
    require_same(tmp_path / "run", uncached)
