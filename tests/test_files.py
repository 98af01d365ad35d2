"""Atomic writing: a reader sees the old file or the new one."""

import errno
import os
from pathlib import Path

import pytest

from striate.errors import InputError, StriateError, did_you_mean
from striate.files import replacing, write_bytes, write_json, write_text


def test_the_new_content_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "one")
    write_text(path, "zwei ü")
    assert path.read_text(encoding="utf-8") == "zwei ü"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="in the middle"), replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise RuntimeError("in the middle")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left while writing"),
        (errno.EDQUOT, "no space left while writing"),
        (errno.EACCES, "cannot be written"),
        (errno.EROFS, "cannot be written"),
        (errno.EFBIG, "larger than a file may be"),
        (errno.EIO, "could not be written"),
    ],
)
def test_what_the_system_refuses_is_a_sentence(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(StriateError, match=words), replacing(tmp_path / "file"):
        raise OSError(number, os.strerror(number))


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StriateError, match="could not be written"):
        write_text(tmp_path / "file" / "below", "x")


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_did_you_mean() -> None:
    assert did_you_mean("momentun", ["momentum", "lr"]) == "; did you mean 'momentum'?"
    assert did_you_mean("zzz", ["b", "a"]) == "; known: a, b"
    assert issubclass(InputError, ValueError)
