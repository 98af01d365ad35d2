"""What a shard holds: one pass from its beginning to its end, kept until the shard changes."""

import hashlib
import json
import re
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from striate.data._dataset import Progress
from striate.data._decode import FILE_LIMIT, ImageError, decode_image
from striate.data._preprocessing import Preprocessing
from striate.data._shard_store import Reading, ShardStore
from striate.data._splits import content_digest
from striate.data._threads import default_threads
from striate.errors import InputError, StriateError
from striate.files import write_text

FORMAT = 1
PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "pnm")
CLASS, JSON = "cls", "json"  # the endings of labels; of a JSON object it is "label"

_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")  # a key, and an ending that begins at its first dot
_PACKINGS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
_AHEAD = 64  # samples in memory at a time
_MEGABYTE = 1_000_000


class Entry(NamedTuple):
    """A sample: its key, where its picture lies, the hash of its content, its labels; or why it cannot be used."""

    key: str
    start: int
    size: int
    digest: str
    labels: list[str]  # as .cls and .json have them: usually one, or the same twice
    fault: str | None


@dataclass
class Index:
    """The samples of a shard in their order, and the names of the files that belong to none."""

    samples: list[Entry] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def index_shards(
    store: ShardStore, names: Sequence[str], preprocessing: Preprocessing, progress: Progress | None
) -> list[Index]:
    """Return the index of each shard: from the user's cache where the shard is what it was, else read anew and kept.

    Raises InputError for what is no whole shard. Pictures are decoded once, those that cannot be are entries with a
    fault. `progress` counts in megabytes.
    """
    stamps = [store.stamp(name) for name in names]
    indices = [_kept(store.address(name), stamp) for name, stamp in zip(names, stamps, strict=True)]
    anew = [k for k, index in enumerate(indices) if index is None]
    total, done = sum(int(stamps[k]["size"]) for k in anew), 0

    def tell(position: int) -> None:
        if progress:
            progress((done + position) // _MEGABYTE, -(-total // _MEGABYTE), "indexing shards, MB")

    for k in anew:
        indices[k] = index = read_index(store, names[k], preprocessing, tell)
        done += int(stamps[k]["size"])
        with suppress(StriateError):  # a cache that cannot be written costs time, nothing else
            write_text(_place(store.address(names[k])), _to_json(store.address(names[k]), stamps[k], index))
    return [index for index in indices if index is not None]


def read_index(store: ShardStore, name: str, preprocessing: Preprocessing, progress: Callable[[int], None]) -> Index:
    """Read a shard from its beginning to its end; raises InputError unless it is whole and has samples."""
    where = store.path(name)
    index, seen = Index(), set[str]()
    checks: deque[tuple[_Sample, Future[str | None]]] = deque()

    def finish(most: int) -> None:
        while len(checks) > most:
            sample, check = checks.popleft()
            index.samples.append(sample.entry(check.result()))

    with store.open(name) as file, ThreadPoolExecutor(default_threads()) as pool:
        for sample in _samples(file, where, progress):
            if sample.key in seen:
                raise InputError(
                    f"{where}: the key {sample.key!r} is there more than once: a sample's files follow each other, and "
                    "each sample has a key of its own"
                )
            seen.add(sample.key)
            if not sample.pictures and not sample.labels:
                index.ignored += sample.others
                continue
            checks.append((sample, pool.submit(sample.check, f"{where}/{sample.key}", preprocessing)))
            finish(_AHEAD)
        finish(0)
    if not index.samples:
        raise InputError(f"{where}: the shard holds no samples, KEY.jpg with KEY.cls: write it again, or remove it")
    return index


@dataclass
class _Sample:
    """The files of a key."""

    key: str
    pictures: dict[str, tuple[int, bytes | None]] = field(default_factory=dict)  # ending -> place and content
    labels: dict[str, bytes] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    size: int = 0
    digest: str = ""
    texts: list[str] = field(default_factory=list)

    def check(self, name: str, preprocessing: Preprocessing) -> str | None:
        """Decode the picture and read the labels; return why the sample cannot be used."""
        if len(self.pictures) != 1:
            many = f"has {len(self.pictures)} pictures (.{', .'.join(self.pictures)}), expected one"
            return many if self.pictures else f"has a label (.{', .'.join(self.labels)}) and no picture"
        ((ending, (start, content)),) = self.pictures.items()
        if content is None:
            return "its picture has more than 1 GiB"
        self.pictures[ending] = (start, None)  # let go of the memory
        self.size, self.digest = len(content), content_digest(content).hex()
        try:
            self.texts = [text for kind, data in self.labels.items() if (text := _label(kind, data)) is not None]
            if not self.texts:
                return f'has no label: add KEY.{CLASS}, or KEY.{JSON} with a value "label"'
            decode_image(content, preprocessing, name=name)
        except ImageError as error:
            return error.reason
        return None

    def entry(self, fault: str | None) -> Entry:
        """Return what is kept of the sample."""
        start = next((start for start, _ in self.pictures.values()), 0)
        return Entry(self.key, start, self.size, self.digest, self.texts, fault)


def _samples(file: Reading, where: str, progress: Callable[[int], None]) -> Iterator[_Sample]:
    """Yield the samples of a shard as they come; files of one key that follow each other are one."""
    sample: _Sample | None = None
    for member in _members(file, where):
        progress(member.offset_data)
        match = _NAME.fullmatch(member.name.removeprefix("./"))
        if match is None or not member.isreg():
            continue
        key, ending = match[1], match[2].lower()
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = _Sample(key)
        if ending in sample.pictures or ending in sample.labels:
            raise InputError(f"{where}: the file {member.name!r} is there more than once: write the shard again")
        if ending in PICTURES:
            sample.pictures[ending] = (member.offset_data, _content(file, member, where))
        elif ending in {CLASS, JSON}:
            sample.labels[ending] = _content(file, member, where) or b""
        else:
            sample.others.append(member.name)
    if sample is not None:
        yield sample


def _members(file: Reading, where: str) -> Iterator[tarfile.TarInfo]:
    """Yield what a tar file lists; raises InputError unless it is one, uncompressed and whole."""
    head = file.read(8)
    for mark, packing in _PACKINGS.items():
        if head.startswith(mark):
            raise InputError(
                f"{where}: the shard is compressed ({packing}): unpack it, samples are read at their places"
            )
    if not head:
        raise InputError(f"{where}: the shard is empty, 0 bytes: write it again, or remove it")
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                yield member
            file.seek(archive.offset)
            end = file.read(tarfile.BLOCKSIZE)
    except tarfile.TarError as error:
        if "unexpected end" in str(error):
            raise _cut_short(where) from error
        raise InputError(f"{where}: not a tar file, or a damaged one ({error}): write or copy it again") from error
    if len(end) < tarfile.BLOCKSIZE:
        raise _cut_short(where)
    if any(end):
        raise InputError(f"{where}: the shard is damaged after {archive.offset:,} bytes: write or copy it again")


def _content(file: Reading, member: tarfile.TarInfo, where: str) -> bytes | None:
    """Return a member's bytes, None if they are too many."""
    if member.size > FILE_LIMIT:
        return None
    file.seek(member.offset_data)
    data = file.read(member.size)
    if len(data) < member.size:
        raise _cut_short(where)
    return data


def _cut_short(where: str) -> InputError:
    return InputError(f"{where}: the shard is cut short, its end is missing: copy or download it again")


def _label(ending: str, data: bytes) -> str | None:
    """Return a label as text; None where a JSON object has none. Raises ImageError for what is no label."""
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ImageError("", f"its .{ending} is no UTF-8 text: write the label as a number or a name", "type") from None
    if ending == JSON:
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ImageError("", f"its .{JSON} is no JSON ({error}): write it again", "type") from None
        if not isinstance(values, dict) or "label" not in values:
            return None
        label = values["label"]
        text = str(label).strip() if isinstance(label, str | int) and not isinstance(label, bool) else ""
    if not text or "\n" in text:
        raise ImageError("", f"its .{ending} has no label in it, a number or a name: write it again", "type")
    return text


def _place(where: str) -> Path:
    import pooch

    name = hashlib.blake2b(where.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return Path(pooch.os_cache("striate")) / "shards" / f"{name}.json"


def _to_json(where: str, stamp: dict[str, str], index: Index) -> str:
    values = {"format": FORMAT, "shard": where, "stamp": stamp, "samples": index.samples, "ignored": index.ignored}
    return json.dumps(values, separators=(",", ":")) + "\n"


def _kept(where: str, stamp: dict[str, str]) -> Index | None:
    """Return the index that is kept of a shard; None where there is none, or the shard has changed since."""
    try:
        values: Any = json.loads(_place(where).read_text(encoding="utf-8"))
        if (values["format"], values["shard"], values["stamp"]) != (FORMAT, where, stamp):
            return None
        return Index([Entry(*row) for row in values["samples"]], values["ignored"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
