"""`striate train --cache` and `striate cache` as a user meets them."""

import json
from pathlib import Path

import pytest

from commands import striate
from pictures import write_photos
from striate.data import cache_folder

SMALL = ("--threads", 1, "--set", "epochs=1", "--set", "data.size=16,16", "--set", "model.options.blocks=[[1,4,1]]")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder photos/, and a user whose cache folder is below it."""
    write_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path


def test_from_the_first_training_to_a_clear_disk(place: Path) -> None:
    outcome = striate("train", "photos", "--cache", "--out", "runs/a", *SMALL)
    assert outcome.code == 0, outcome.err
    (pack,) = cache_folder().glob("*.pack")
    assert f"24 decoded pictures are kept in {pack} (" in outcome.err
    outcome = striate("train", "photos", "--cache", "--out", "runs/b", *SMALL)
    assert outcome.code == 0
    assert "kept" not in outcome.err

    outcome = striate("cache")
    assert outcome.out.splitlines()[0].startswith(f"{pack.name}  ")
    assert f"24 pictures of {place / 'photos'}, 16 x 16, RGB, crop" in outcome.out
    assert outcome.out.splitlines()[-1].startswith(f"{cache_folder()}: 1 cache, ")
    listed = json.loads(striate("cache", "--json").out)
    assert listed["bytes"] == pack.stat().st_size == listed["caches"][0]["bytes"]
    assert listed["caches"][0]["path"] == str(pack)

    assert striate("cache", "--clear").out.startswith(f"{cache_folder()}: removed 1 cache, ")
    assert list(cache_folder().iterdir()) == []
    assert striate("cache").out == f"{cache_folder()}: 0 caches, 0 B\n"


def test_a_folder_of_ones_own_and_runs_that_go_on(place: Path) -> None:
    assert striate("train", "photos", "--cache-folder", "kept", "--out", "runs/a", *SMALL).code == 0
    assert striate("cache", "--clear", "--folder", "kept").code == 0
    assert striate("train", "--resume", "runs/a", "--no-cache").code == 0
    assert not list((place / "kept").iterdir())
    assert striate("train", "--resume", "runs/a").code == 0
    assert list((place / "kept").glob("*.pack"))


def test_what_cannot_be(place: Path) -> None:
    outcome = striate("train", "photos", "--no-cache", "--cache-folder", "kept")
    assert (outcome.code, outcome.err) == (
        2,
        "striate: --no-cache and --cache-folder contradict each other: leave one out\n",
    )
    outcome = striate("train", "digits", "--cache")
    assert outcome.code == 2
    assert outcome.err.endswith("digits is in memory anyway: leave the cache out\n")
    (place / "file").write_text("")
    outcome = striate("train", "photos", "--cache-folder", "file", "--out", "run")
    assert (outcome.code, outcome.err) == (2, "striate: file is a file: choose a folder for the cache\n")
    assert not (place / "run").exists()
