"""The cache of decoded pictures: the very bytes of decoding, nothing stale or damaged believed, one maker at a time."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import without_privileges
from pictures import write_photos
from striate.data import Cache, DataOptions, FolderSplit, ImageData, amount, decoded_anew, open_data
from striate.data import _cache as module
from striate.data._pack import DamagedError, Pack
from striate.errors import InputError, StriateError

OPTIONS = DataOptions(channels=3, size=(9, 7), val_fraction=0.25, test_fraction=0.25)
COUNT = 24


class Place:
    """A folder of pictures and one of caches, what was said, and which files were decoded."""

    def __init__(self, root: Path) -> None:
        self.photos, self.folder, self.notes = root / "photos", root / "cache", list[str]()
        self.decoded: list[str] = []
        write_photos(self.photos)
        for path in self.photos.rglob("*.png"):
            os.utime(path, (1e9, 1e9))

    @property
    def cache(self) -> Cache:
        return Cache(self.folder, self.notes.append)

    @property
    def pack(self) -> Path:
        (path,) = self.folder.glob("*.pack")
        return path

    def open(self, options: DataOptions = OPTIONS, **arguments: Any) -> ImageData:
        self.notes.clear()
        self.decoded.clear()
        return open_data(self.photos, options, seed=0, cache=self.cache, **arguments)

    def plain(self, options: DataOptions = OPTIONS) -> ImageData:
        return open_data(self.photos, options, seed=0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Files just written count as settled, so that times are believed, and what is decoded is counted."""
    made = Place(tmp_path)
    monkeypatch.setattr(module, "UNSETTLED", 0)
    original = module._decoded

    def counted(path: Path, name: str, preprocessing: Any) -> Any:
        made.decoded.append(name)
        return original(path, name, preprocessing)

    monkeypatch.setattr(module, "_decoded", counted)
    return made


def require_same(cached: ImageData, plain: ImageData) -> None:
    assert cached.fingerprint == plain.fingerprint
    assert cached.describe() == plain.describe()
    for name, split in plain.splits.items():
        rows = np.random.default_rng(0).permutation(len(split))
        assert isinstance(cached.splits[name], FolderSplit)
        np.testing.assert_array_equal(cached.splits[name].load(rows), split.load(rows))


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_gives_exactly_what_decoding_gives(place: Place, fit: Any, channels: int) -> None:
    options = DataOptions(channels=channels, size=(9, 7), fit=fit)
    require_same(place.open(options), place.plain(options))
    assert len(place.decoded) == COUNT
    (note,) = place.notes
    assert note == f"24 decoded pictures are kept in {place.pack} ({amount(place.pack.stat().st_size)})"
    data = place.open(options)
    require_same(data, place.plain(options))
    assert (place.decoded, place.notes) == ([], [])
    assert data.splits["train"].load([]).shape == (0, channels, 9, 7)


def test_what_is_read_comes_from_the_cache(place: Place) -> None:
    """Else the comparisons above would hold for a cache that is never used."""
    data = place.open()
    for path in place.photos.rglob("*.png"):
        path.unlink()
    assert data.splits["train"].load(range(8)).shape == (8, 3, 9, 7)


def test_what_decoding_depends_on_has_a_cache_of_its_own_and_all_else_has_not(place: Place) -> None:
    place.open()
    place.open(DataOptions(channels=3, size=(9, 7), border=2, mean=(0.5,), crop_to=(5, 5)))
    assert place.decoded == []
    place.open(DataOptions(channels=3, size=(7, 9)))
    assert len(place.decoded) == COUNT
    assert len(list(place.folder.glob("*.pack"))) == 2
    place.open()
    assert place.decoded == []


@pytest.mark.parametrize("kept", ["times of files", "nothing but content"])
def test_a_changed_file_is_decoded_anew_and_the_rest_copied(place: Place, kept: str) -> None:
    place.open()
    path = place.photos / "dark" / "3.png"
    size, times = path.stat().st_size, (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    pixels = np.asarray(Image.open(path))[::-1]
    Image.fromarray(pixels).save(path)
    with path.open("ab") as file:
        file.write(bytes(max(0, size - path.stat().st_size)))
    if kept == "times of files":  # as a tool does that keeps them
        os.utime(path, ns=times)
    data = place.open()
    assert place.decoded == ["dark/3.png"]
    assert place.notes[0] == f"1 of 24 files are new or changed: the cache {place.pack} is written anew"
    require_same(data, place.plain())


def test_a_touched_file_is_compared_by_its_content(place: Place) -> None:
    place.open()
    before = place.pack.stat().st_ino
    for path in place.photos.rglob("*.png"):
        path.touch()
    steps: list[tuple[int, int, str]] = []
    place.open(progress=lambda *step: steps.append(step))
    assert place.decoded == []
    assert place.pack.stat().st_ino == before
    assert steps[-1] == (24, 24, "comparing with the cache")


def test_a_file_changed_just_before_it_was_read_is_compared_by_its_content(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change within one tick of the clock leaves size and times as they were."""
    monkeypatch.setattr(module, "UNSETTLED", 3_600_000_000_000)
    place.open()
    assert all(entry.stamp is None for entry in Pack(place.pack).entries)
    monkeypatch.setattr(module, "_times", lambda path: (path.stat().st_size, 5, 5))
    assert place.open().fingerprint == place.plain().fingerprint
    assert place.decoded == []
    (place.photos / "dark" / "3.png").write_bytes((place.photos / "dark" / "4.png").read_bytes())
    assert place.open().fingerprint == place.plain().fingerprint
    assert place.decoded == ["dark/3.png"]


def test_files_that_come_and_go(place: Place) -> None:
    place.open()
    (place.photos / "dark" / "0.png").unlink()
    require_same(place.open(), place.plain())
    assert place.decoded == []  # what remains is there
    shutil.copy(place.photos / "light" / "0.png", place.photos / "light" / "new.png")
    require_same(place.open(), place.plain())
    assert place.decoded == ["light/new.png"]
    exclude = DataOptions(channels=3, size=(9, 7), exclude=("light/1.png",))
    require_same(place.open(exclude), place.plain(exclude))
    assert place.decoded == []


def test_another_decoder_or_library_makes_it_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.open()
    monkeypatch.setattr(module.features, "version", lambda name: "99")
    require_same(place.open(), place.plain())
    assert len(place.decoded) == COUNT
    assert place.notes[0] == (
        f"the cache {place.pack} was made by other versions of Striate, Pillow or its libraries: it is made anew"
    )


def test_files_that_cannot_be_decoded_are_told_again(place: Place) -> None:
    (place.photos / "dark" / "5.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1 of 24 files cannot be read as pictures .*dark/5.png: not a JPEG"):
        place.open()
    skip = DataOptions(channels=3, size=(9, 7), unreadable="skip")
    for _ in range(2):
        data = place.open(skip)
        require_same(data, place.plain(skip))
        assert [Path(file.path).name for file in data.unreadable] == ["5.png"]
        assert place.decoded == []  # what was decoded before the refusal is kept
    Image.new("RGB", (9, 9)).save(place.photos / "dark" / "5.png")
    require_same(place.open(), place.plain())
    assert place.decoded == ["dark/5.png"]


CUTS = [0, 1, 30, 100, 3000, -1, -16, -60]


@pytest.mark.parametrize("length", CUTS)
def test_a_cut_file_is_made_anew(place: Place, length: int) -> None:
    place.open()
    os.truncate(place.pack, length % place.pack.stat().st_size)
    require_same(place.open(), place.plain())
    assert len(place.decoded) == COUNT
    assert place.notes[0].startswith(f"the cache {place.pack} is damaged (it is ")
    assert place.notes[0].endswith("): it is made anew")
    assert len(place.notes) == 2


def test_every_damaged_byte_is_noticed(place: Place) -> None:
    """Of pictures when they are read, of everything behind them when the file is opened."""
    place.open()
    whole, pictures = place.pack.read_bytes(), COUNT * 3 * 9 * 7
    for at in [0, 1, 500, pictures - 1, pictures, pictures + 1, len(whole) - 60, *range(len(whole) - 48, len(whole))]:
        damaged = bytearray(whole)
        damaged[at] ^= 4
        place.pack.write_bytes(damaged)
        if at >= pictures:
            with pytest.raises(DamagedError):
                Pack(place.pack)
        else:
            pack, image = Pack(place.pack), np.empty((3, 9, 7), np.uint8)
            read = [pack.read(row, image) for row in range(COUNT)]
            assert read == [row != at // 189 for row in range(COUNT)]


@pytest.mark.parametrize("how", ["damaged", "cut short"])
def test_what_is_lost_while_it_is_used_is_decoded(place: Place, how: str) -> None:
    data, plain = place.open(), place.plain()
    if how == "damaged":
        with place.pack.open("r+b") as file:
            file.write(bytes(4000))
    else:
        os.truncate(place.pack, 500)
    path = place.pack
    require_same(data, plain)
    require_same(data, plain)
    assert place.notes[1:] == [
        f"the cache {path} is damaged: what it has lost is decoded from the files, and the next run makes it anew"
    ]
    require_same(place.open(), plain)
    assert len(place.decoded) == COUNT


def test_old_runs_read_on_while_a_new_one_writes_the_cache_anew(place: Place) -> None:
    plain, data = place.plain(), place.open()
    shutil.copy(place.photos / "light" / "0.png", place.photos / "light" / "new.png")
    place.open()
    require_same(data, plain)


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_full_disk_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """`written` times something fits."""
    original, room = Path.open, iter([None] * written)

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def write(self, data: Any) -> None:
            if next(room, "full") == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.file.write(data)

    def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        file = original(path, mode, *rest, **more)
        return Full(file) if path.name.endswith(".part") else file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(StriateError, match=r"^no space left while writing \S+\.pack: free some space and try again"):
        place.open()
    assert [path.name for path in place.folder.iterdir() if not path.name.endswith(".lock")] == []
    monkeypatch.undo()
    require_same(place.open(), place.plain())


def test_too_small_a_disk_is_told_before(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 4000))  # type: ignore[attr-defined]
    with pytest.raises(StriateError) as caught:
        place.open()
    assert str(caught.value) == (
        f"{place.folder}: the cache of {place.photos} takes 4.4 KiB, and 3.9 KiB are free: free some space, choose "
        "another folder for the cache, or train without one"
    )
    assert place.decoded == []


def test_a_folder_that_cannot_be_one(place: Place) -> None:
    place.folder.write_text("")
    with pytest.raises(InputError, match=r"cache is a file: choose a folder for the cache$"):
        place.open()
    cache = Cache(place.folder / "below", place.notes.append)
    with pytest.raises(StriateError, match=r"the cache cannot be read \(Not a directory\): choose another folder"):
        open_data(place.photos, OPTIONS, seed=0, cache=cache)


def test_a_folder_that_may_not_be_written(place: Place) -> None:
    open_to_all = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(place.photos, open_to_all / "photos")
        (open_to_all / "cache").mkdir()
        for path in [open_to_all, *open_to_all.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        with (
            without_privileges(),
            pytest.raises(StriateError, match=r"cannot be written \(Permission denied\): choose a folder that you may"),
        ):
            open_data(open_to_all / "photos", OPTIONS, seed=0, cache=Cache(open_to_all / "cache"))
        open_data(open_to_all / "photos", OPTIONS, seed=0, cache=Cache(open_to_all / "cache"))
        for path in open_to_all.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        with without_privileges():  # one that is whole need only be read
            data = open_data(open_to_all / "photos", OPTIONS, seed=0, cache=Cache(open_to_all / "cache"))
        require_same(data, open_data(open_to_all / "photos", OPTIONS, seed=0))
    finally:
        for path in [open_to_all, *open_to_all.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(open_to_all)


def test_only_folders_of_pictures_with_labels(place: Place) -> None:
    shard, series = place.folder.parent / "shard-0.tar", place.folder.parent / "series"
    shard.write_bytes(b"")
    (series / "a").mkdir(parents=True)
    (series / "a" / "1.csv").write_text("1\n2\n")
    for where, options, why in (
        ("digits", DataOptions(), "is in memory anyway"),
        (shard, DataOptions(), "is shards"),
        (series, DataOptions(kind="signals"), "has series of numbers"),
        (place.photos, DataOptions(task="segmentation"), "has masks"),
    ):
        with pytest.raises(InputError) as caught:
            open_data(where, options, seed=0, cache=place.cache)
        assert str(caught.value) == (
            f"a cache keeps the pictures of a folder with a label each; {where} {why}: leave the cache out"
        )


def test_who_decodes_each_time_is_told_of_the_cache(place: Place) -> None:
    assert decoded_anew(place.plain()) is None
    assert decoded_anew(place.open()) is None
    assert decoded_anew(open_data(place.photos, OPTIONS, seed=0, memory_limit=0)) == (
        "the decoded pictures take 4.4 KiB, too much to be kept in memory: each epoch decodes them anew; --cache keeps "
        "them decoded on disk"
    )


def test_lists_and_clears(place: Place) -> None:
    place.open()
    place.pack.with_name(f".{place.pack.name}.1.part").write_bytes(b"x")
    (place.folder / "other.pack").write_bytes(b"x" * 2048)
    (place.folder / "mine.txt").write_text("not a cache")
    caches = Cache(place.folder).stored()
    assert [cache.description for cache in caches] == [
        "damaged, or of another version",
        f"24 pictures of {place.photos}, 9 x 7, RGB, stretch",
    ]
    assert caches[0].bytes == 2048
    Cache(place.folder).clear()
    assert [path.name for path in place.folder.iterdir()] == ["mine.txt"]
    Cache(place.folder / "none").clear()
    assert Cache(place.folder / "none").stored() == []


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10 * 1024, "10 KiB"),
        (1_500_000, "1.4 MiB"),
        (2**30, "1.0 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_amounts(size: int, words: str) -> None:
    assert amount(size) == words


# --- several processes ---------------------------------------------------------------------------------------------

MAKER = """
    import sys, time
    from pathlib import Path
    from striate.data import Cache, DataOptions, open_data
    from striate.data import _cache as module
    original = module._decoded
    count = 0
    def slowly(*arguments):
        global count
        count += 1
        while not Path(sys.argv[3]).exists():
            time.sleep(0.02)
        return original(*arguments)
    module._decoded = slowly
    note = lambda text: print("note", text, flush=True)
    options = DataOptions(channels=3, size=(9, 7), val_fraction=0.25, test_fraction=0.25)
    data = open_data(Path(sys.argv[1]), options, seed=0, cache=Cache(Path(sys.argv[2]), note))
    print(count, data.fingerprint, data.splits["train"].load(range(11)).sum(), flush=True)
"""


@pytest.fixture
def make(place: Place) -> Iterator[Any]:
    """Starts processes that open the cache, and decode once the file `go` is there."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        go = place.folder.parent / "go"
        code = [sys.executable, "-c", textwrap.dedent(MAKER), str(place.photos), str(place.folder), str(go)]
        started.append(subprocess.Popen(code, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def until_part(place: Place) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := list(place.folder.glob(".*.part")):
            return found[0]
        time.sleep(0.01)
    raise AssertionError("no process began to write")


def until_it_waits(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("note waiting for another process that is making the cache ")


def test_of_two_processes_one_makes_it_and_the_other_waits(place: Place, make: Any) -> None:
    first = make()
    until_part(place)
    second = make()
    until_it_waits(second)
    (place.folder.parent / "go").touch()
    ends = [process.communicate(timeout=120)[0].splitlines()[-1].split() for process in (first, second)]
    assert [end[0] for end in ends] == ["24", "0"]
    assert ends[0][1:] == ends[1][1:]
    require_same(place.open(), place.plain())
    assert place.decoded == []


def test_clearing_leaves_alone_what_is_being_made(place: Place, make: Any) -> None:
    maker = make()
    part = until_part(place)
    Cache(place.folder).clear()
    assert part.exists()
    (place.folder.parent / "go").touch()
    assert maker.communicate(timeout=120)[0].splitlines()[-1].split()[0] == "24"
    require_same(place.open(), place.plain())


def test_a_killed_maker_leaves_nothing_that_is_believed(place: Place, make: Any) -> None:
    maker = make()
    part = until_part(place)
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert part.exists()
    require_same(place.open(), place.plain())
    assert len(place.decoded) == COUNT
    assert not part.exists()
    assert sorted(path.suffix for path in place.folder.iterdir()) == [".lock", ".pack"]


def test_who_waits_for_a_maker_that_is_killed_makes_it(place: Place, make: Any) -> None:
    maker = make()
    until_part(place)
    other = make()
    until_it_waits(other)
    maker.send_signal(signal.SIGKILL)
    (place.folder.parent / "go").touch()
    assert other.communicate(timeout=120)[0].splitlines()[-1].split()[0] == "24"
    require_same(place.open(), place.plain())
