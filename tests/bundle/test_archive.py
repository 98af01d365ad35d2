"""The container: no byte of it can change unnoticed, and each way of being wrong has its sentence."""

import contextlib
import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from striate.bundle._archive import _MARK, MANIFEST, parse_json, read_archive, write_archive
from striate.errors import InputError, StriateError

PARTS = {
    "README.txt": b"hello",
    "labels.json": b'["a", "b"]',
    "weights.safetensors": bytes(range(256)) * 4,
    "empty": b"",
}
NAMES = frozenset(PARTS)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_archive(tmp_path / "m.striate", PARTS)
    return tmp_path / "m.striate"


def entries(parts: dict[str, bytes], /, **changes: object) -> list[tuple[str, bytes]]:
    listed = {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in parts.items()}
    manifest = {"format": "striate-bundle", "version": 1, "parts": listed, **changes}
    return [(MANIFEST, json.dumps(manifest).encode()), *parts.items()]


def forge(path: Path, contents: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a ZIP with a true seal, as someone could who knows the format."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", compression) as archive:
        archive.comment = _MARK + b"0" * 64
        for name, data in contents:
            archive.writestr(name, data)
    return seal(path, memory.getvalue())


def seal(path: Path, data: bytes) -> Path:
    path.write_bytes(data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode())
    return path


def test_parts_come_back(bundle):
    assert read_archive(bundle, NAMES) == PARTS


def test_it_is_a_plain_zip_that_any_tool_reads(bundle):
    with zipfile.ZipFile(bundle) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [MANIFEST, *PARTS]
        assert archive.read("README.txt") == b"hello"
        manifest = json.loads(archive.read(MANIFEST))
    assert manifest["parts"]["README.txt"] == {"bytes": 5, "sha256": hashlib.sha256(b"hello").hexdigest()}


def test_the_same_content_makes_the_same_bytes(bundle, tmp_path):
    write_archive(tmp_path / "again.striate", PARTS)
    assert (tmp_path / "again.striate").read_bytes() == bundle.read_bytes()


def test_any_flipped_bit_anywhere_is_detected(bundle, tmp_path):
    data, changed = bundle.read_bytes(), tmp_path / "changed.striate"
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        changed.write_bytes(flipped)
        with pytest.raises(InputError, match=r"changed\.striate: (the bundle is damaged|not a Striate bundle)"):
            read_archive(changed, NAMES)


def test_other_case_of_the_seal_is_detected(bundle):
    data = bundle.read_bytes()
    bundle.write_bytes(data[:-64] + data[-64:].upper())
    with pytest.raises(InputError, match="the bundle is damaged"):
        read_archive(bundle, NAMES)


def test_any_truncation_is_detected(bundle):
    data = bundle.read_bytes()
    for size in (*range(1, 200, 7), *range(200, len(data), 97), len(data) - 64, len(data) - 1):
        bundle.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"the bundle is damaged|not a Striate bundle"):
            read_archive(bundle, NAMES)


@pytest.mark.parametrize("more", [b"\n", b"\0" * 100, b"PK\5\6" + b"\0" * 18])
def test_anything_put_before_or_behind_is_detected(bundle, more):
    data = bundle.read_bytes()
    for changed in (data + more, more + data):
        bundle.write_bytes(changed)
        with pytest.raises(InputError, match="the bundle is damaged"):
            read_archive(bundle, NAMES)


def test_damage_is_told_in_one_sentence(bundle):
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b"hello", b"hallo"))
    with pytest.raises(InputError) as caught:
        read_archive(bundle, NAMES)
    assert str(caught.value) == (
        f"{bundle}: the bundle is damaged, it is not the file that was written (checksum of {len(data):,} bytes); "
        "copy or download it again"
    )


def test_what_is_no_bundle_is_told_so(tmp_path):
    path = tmp_path / "x.striate"
    for data in (b"x", b"PK\3\4", b"\x89PNG\r\n", b"0" * 5000):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"x\.striate: not a Striate bundle; give a file that"):
            read_archive(path, NAMES)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(InputError, match="not a Striate bundle; give"):
        read_archive(path, NAMES)


def test_empty_file_folder_missing_and_unreadable(tmp_path, monkeypatch):
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match="empty: the file is empty, not a Striate bundle; copy or download it again"):
        read_archive(tmp_path / "empty", NAMES)
    with pytest.raises(InputError, match="is a folder; give the bundle in it"):
        read_archive(tmp_path, NAMES)
    with pytest.raises(InputError, match="nowhere: no such file; give the path of a bundle"):
        read_archive(tmp_path / "nowhere", NAMES)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"the bundle cannot be read \(Permission denied\)"):
        read_archive(tmp_path / "empty", NAMES)


def test_forged_archives_are_read_only_if_they_are_bundles(tmp_path):
    assert read_archive(forge(tmp_path / "f", entries(PARTS)), NAMES) == PARTS


def less(name: str) -> dict[str, bytes]:
    return {key: value for key, value in PARTS.items() if key != name}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (entries(less("labels.json")), r"the bundle has no labels\.json"),
        ([e for e in entries(PARTS) if e[0] != "labels.json"], r"the bundle has no labels\.json"),
        (entries({**PARTS, "extra.pkl": b"?"}), r"the bundle has an unknown part extra\.pkl"),
        ([*entries(PARTS), ("extra.pkl", b"?")], r"the bundle has an unknown part extra\.pkl"),
        ([*entries(PARTS), ("../escape", b"?")], r"the bundle has an unknown part \.\./escape"),
        ([*entries(PARTS), ("labels.json", b'["a", "b"]')], "the bundle has a part twice"),
        ([*entries(PARTS)[:-1], ("empty", b"not")], r"the bundle's empty is not the one its manifest\.json lists"),
        (entries(PARTS)[1:], r"the bundle has no manifest\.json"),
        ([], r"the bundle has no manifest\.json"),
        ([(MANIFEST, b"{")], r"the bundle's manifest\.json is not valid JSON"),
        ([(MANIFEST, b"[" * 100_000)], r"the bundle's manifest\.json is not valid JSON"),
        ([(MANIFEST, b"\xff\xfe\xff")], r"the bundle's manifest\.json is not valid JSON"),
        ([(MANIFEST, b"[]")], r"the bundle's manifest\.json is not understood"),
        (entries(PARTS, parts=3), r"the bundle's manifest\.json is not understood"),
        (entries(PARTS, parts={"README.txt": 1}), r"the bundle's manifest\.json is not understood"),
        (entries(PARTS, format="other"), r"not a Striate bundle \(format 'other', version 1\)"),
        (entries(PARTS, version="1"), r"not a Striate bundle \(format 'striate-bundle', version '1'\)"),
        (
            entries(PARTS, version=2),
            r"needs a newer Striate \(it has format version 2, this one reads up to 1\); upgrade",
        ),
        (entries({"new": b""}, version=9), r"needs a newer Striate \(it has format version 9"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_a_seal_does_not_tell_is_checked_too(tmp_path, contents, message):
    path = forge(tmp_path / "f.striate", contents)
    with pytest.raises(InputError, match=message) as caught:
        read_archive(path, NAMES)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_compressed_parts_are_refused_before_they_are_unpacked(tmp_path):
    bomb = entries({**less("weights.safetensors"), "weights.safetensors": b"\0" * 10_000_000})
    path = forge(tmp_path / "bomb", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="parts are stored, not compressed; do not repack it"):
        read_archive(path, NAMES)


def test_a_newer_format_may_do_all_else_otherwise(tmp_path):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.comment = _MARK + b"0" * 64
        archive.writestr(*entries({}, version=2)[0])
        archive.writestr("new.bin", b"0" * 1000, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="the bundle needs a newer Striate"):
        read_archive(seal(tmp_path / "new.striate", memory.getvalue()), NAMES)


def test_absurd_sizes_and_broken_directories_are_refused(tmp_path):
    data = forge(tmp_path / "f", entries(PARTS)).read_bytes()
    first = data.index(b"PK\1\2")  # the central directory's entry of the manifest
    sizes = data[: first + 20] + b"\xf0\xff\xff\x7f" * 2 + data[first + 28 :]
    with pytest.raises(InputError, match="the bundle claims parts larger than itself"):
        read_archive(seal(tmp_path / "f", sizes), NAMES)
    for position in range(first, len(data) - 64 - len(_MARK)):
        changed = bytearray(data)
        changed[position] ^= 0xFF
        with contextlib.suppress(InputError):  # and no other error
            assert read_archive(seal(tmp_path / "f", bytes(changed)), NAMES) == PARTS  # a date or an attribute


def test_writing_is_all_or_nothing(bundle, monkeypatch):
    before = bundle.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(StriateError, match=r"no space left while writing .*m\.striate"):
        write_archive(bundle, PARTS)
    assert bundle.read_bytes() == before
    assert [p.name for p in bundle.parent.iterdir()] == ["m.striate"]


def test_json_parts_are_named_in_errors():
    with pytest.raises(InputError, match=r"b\.striate: the bundle's labels\.json is not valid JSON"):
        parse_json(Path("b.striate"), "labels.json", b"[1,")
