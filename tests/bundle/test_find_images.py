"""What files, folders and patterns mean."""

from pathlib import Path

import pytest

from striate.bundle import find_images
from striate.errors import InputError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in (
        "b.PNG",
        "a.jpg",
        "notes.txt",
        ".hidden.png",
        "in/c.webp",
        "in/deep/d.tif",
        ".git/e.png",
        "odd [1].png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_means_all_pictures_in_it_sorted_hidden_ones_left_out(photos):
    assert names(find_images(photos), photos) == ["a.jpg", "b.PNG", "in/c.webp", "in/deep/d.tif", "odd [1].png"]


def test_patterns_mean_pictures_only(photos):
    assert names(find_images(f"{photos}/*"), photos) == ["a.jpg", "b.PNG", "odd [1].png"]
    assert names(find_images([f"{photos}/**/*.tif"]), photos) == ["in/deep/d.tif"]
    assert names(find_images(f"{photos}/[ab].*"), photos) == ["a.jpg", "b.PNG"]


def test_a_relative_pattern(photos, monkeypatch):
    monkeypatch.chdir(photos)
    assert find_images("*.jpg") == [Path("a.jpg")]


def test_single_files_are_taken_as_they_are_and_keep_their_order(photos):
    given = [
        photos / "notes.txt",
        photos / "missing.png",
        str(photos / ".hidden.png"),
        photos / "odd [1].png",
        photos / "in",
    ]
    found = names(find_images(given), photos)
    assert found == ["notes.txt", "missing.png", ".hidden.png", "odd [1].png", "in/c.webp", "in/deep/d.tif"]


def test_folders_and_patterns_without_pictures_are_refused_by_name(photos):
    with pytest.raises(InputError, match=r"none: the folder has no pictures \(\.bmp, \.gif"):
        find_images([photos / "a.jpg", photos / "none"])
    with pytest.raises(InputError, match=r"/\*\.bmp: the pattern has no pictures"):
        find_images(f"{photos}/*.bmp")
    with pytest.raises(InputError, match=r"/\*\.txt: the pattern has no pictures"):
        find_images(f"{photos}/*.txt")
    with pytest.raises(InputError, match="no pictures: give files, folders or patterns"):
        find_images([])


def test_a_folder_that_cannot_be_listed_is_an_error_not_a_gap(photos, monkeypatch):
    import os

    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"deep: the folder cannot be read \(Permission denied\)"):
        find_images(photos)


def test_a_link_that_leads_back_does_not_loop(photos):
    (photos / "in" / "back").symlink_to(photos, target_is_directory=True)
    assert names(find_images(photos / "in"), photos) == ["in/c.webp", "in/deep/d.tif"]
