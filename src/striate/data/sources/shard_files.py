"""Which shards a folder, a pattern or an address means, and to which split each belongs."""

import re
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path

from striate.data._classmap import listed
from striate.data._shard_store import ShardStore, is_url, store_at
from striate.data.sources.layout import CLUTTER, PARTS, SPLIT_WORDS, entries
from striate.errors import InputError

ENDING = ".tar"
_PACKED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4)|t[gbx]z)$", re.IGNORECASE)
_NUMBERS = re.compile(r"(\d+)\.\.(\d+)")
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)
_MOST = 1_000_000  # shards of a pattern; more are a slip of the keyboard


@dataclass(frozen=True)
class Shards:
    """The shards' names in `store`, by split in PARTS' order; all in the part "" where their names tell no split."""

    where: str
    store: ShardStore
    parts: dict[str, list[str]]
    ignored: list[str] = field(default_factory=list)


def is_shards(where: str | Path) -> bool:
    """Whether `where` means shards: an address, a pattern, a .tar file, or a folder of these and no class folders."""
    text = str(where)
    path = Path(where)
    if is_url(text):
        return True
    if path.is_dir():
        folders, files = entries(path)
        if "train" in folders:
            folders, files = entries(path / "train")
        return not folders and any(map(_is_tar, files))
    return _is_tar(text) or (not path.exists() and ("{" in text or "*" in text))


def find_shards(where: str | Path) -> Shards:
    """Return the shards that are meant; raises InputError where there are none, one is missing or a split is unclear.

    A folder holds them, or has them in train/, val/ and test/. In a pattern {a,b} and {000..146} stand for each of
    these, * for anything. A name belongs to the split whose word it has between "-", "_" and ".", or else whose folder
    it is in.
    """
    text = str(where)
    names = _expanded(text)
    if len(names) == 1 and ("*" in text or _is_tar(text)):
        found = _matching(text) if "*" in text else names
    elif len(names) == 1:
        return _in_folder(text)
    else:
        found = [name for each in names for name in (_matching(each) if "*" in each else [each])]
    packed = [name for name in found if _PACKED.search(name)]
    if packed:
        raise _packed(packed[0])
    strange = [name for name in found if not name.endswith(ENDING)]
    if strange or len(set(found)) < len(found):
        what = f"{strange[0]} does not" if strange else "a name is there twice"
        raise InputError(f"{text}: expected the names of shards that each end in {ENDING}, {what}")
    folders = [name.rpartition("/")[0].split("/") for name in found]
    root = "/".join(words[0] for words in takewhile(lambda words: len(set(words)) == 1, zip(*folders, strict=False)))
    below = [name[len(root) + 1 :] if root else name.lstrip("/") for name in found]
    return Shards(text, store_at(root or ("/" if text.startswith("/") else ".")), _by_part(text, below, found))


def _in_folder(text: str) -> Shards:
    store = store_at(text)
    folders, files = store.listing()
    ignored = [name for name in files if not _is_tar(name) and not name.startswith("classes.")]
    names = [name for name in files if _is_tar(name)]
    if "train" in folders and not names:
        for part in (folder for folder in folders if folder in PARTS):
            names += [f"{part}/{name}" for name in store.listing(part)[1] if _is_tar(name)]
    else:
        ignored += folders
    packed = [name for name in names if _PACKED.search(name)]
    if packed:
        raise _packed(store.path(packed[0]))
    if not names:
        raise InputError(f"{text}: expected shards, files that end in {ENDING}, found none")
    _require_whole(text, names)
    ignored = [name for name in ignored if name.casefold() not in CLUTTER]
    return Shards(text, store, _by_part(text, names, names), ignored)


def _by_part(text: str, names: list[str], whole: list[str]) -> dict[str, list[str]]:
    """Return the names by split, which is read off the whole names."""
    found: dict[str, list[str]] = {}
    for name, known in zip(names, whole, strict=True):
        found.setdefault(_part(text, known), []).append(name)
    if "" in found and len(found) > 1:
        raise InputError(
            f"{text}: {found[''][0]} does not say to which split it belongs, others do: name shards such as "
            "train-000000.tar, val-000000.tar"
        )
    return {part: found[part] for part in ("", *PARTS) if part in found}


def _part(text: str, name: str) -> str:
    folder, _, file = name.rpartition("/")
    for words in (re.split(r"[-_.]", file), [folder.rpartition("/")[2]]):
        parts = {SPLIT_WORDS[word.casefold()] for word in words if word.casefold() in SPLIT_WORDS}
        if len(parts) > 1:
            raise InputError(f"{text}: {name} names two splits, {' and '.join(sorted(parts))}: rename it")
        if parts:
            return parts.pop()
    return ""


def _require_whole(text: str, names: list[str]) -> None:
    """Raise InputError where numbered names have a gap."""
    series: dict[tuple[str, str], dict[int, str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name[::-1]):  # the last number of the name
            after, number, before = (part[::-1] for part in match.groups())
            series.setdefault((before, after), {})[int(number)] = number
    for (before, after), numbers in series.items():
        missing = [k for k in range(min(numbers), max(numbers)) if k not in numbers] if len(numbers) > 1 else []
        if missing:
            width = len(numbers[min(numbers)])
            lost = [f"{before}{k:0{width}d}{after}" for k in missing]
            raise InputError(
                f"{text}: shards are missing between others, {listed(lost, 3)}: copy them again, or give a pattern of "
                f"those to use, such as '{before}*{after}'"
            )


def _expanded(pattern: str) -> list[str]:
    """Return a pattern's names: each of {a,b}, each number of {000..146}; braces may hold braces."""
    start = pattern.find("{")
    if start < 0 or (not is_url(pattern) and Path(pattern).exists()):
        return [pattern]
    depth, cuts, end = 0, [start], -1
    for k in range(start, len(pattern)):
        depth += {"{": 1, "}": -1}.get(pattern[k], 0)
        if depth == 0:
            end = k
            break
        if depth == 1 and pattern[k] == ",":
            cuts.append(k)
    if end < 0:
        raise InputError(f"{pattern}: has a brace that nothing closes")
    words = [pattern[first + 1 : last] for first, last in pairwise([*cuts, end])]
    if len(words) == 1 and (numbers := _NUMBERS.fullmatch(words[0])):
        first, last = int(numbers[1]), int(numbers[2])
        if not 0 <= last - first < _MOST:
            raise InputError(f"{pattern}: {{{words[0]}}} must count up, by less than {_MOST:,}")
        words = [f"{k:0{len(numbers[1])}d}" for k in range(first, last + 1)]
    rest = _expanded(pattern[end + 1 :])
    return [f"{pattern[:start]}{inner}{after}" for word in words for inner in _expanded(word) for after in rest]


def _matching(pattern: str) -> list[str]:
    """Return the names that a pattern with * means, sorted; raises InputError for none."""
    root, _, _ = pattern.partition("*")[0].rpartition("/")
    store = store_at(root or ".")
    within = pattern[len(root) :].lstrip("/")
    try:
        found = sorted(store.system.glob(store.path(within)))
    except Exception as error:  # each protocol has errors of its own
        raise InputError(f"{pattern}: cannot be listed ({error})") from error
    if not found:
        raise InputError(f"{pattern}: no file has such a name")
    place = store.system._strip_protocol(store.root).rstrip("/")
    return [f"{root}/{name[len(place) :].lstrip('/')}" if root else name[len(place) :].lstrip("/") for name in found]


def _is_tar(name: str) -> bool:
    return name.endswith(ENDING) or _PACKED.search(name) is not None


def _packed(name: str) -> InputError:
    return InputError(
        f"{name}: the shard is compressed, so its samples have no places to read at: unpack it (gunzip), pictures do "
        "not get smaller by it"
    )
