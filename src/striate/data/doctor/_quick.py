"""The quick form of the examination: what is seen at once of data that were opened for training."""

from collections import Counter

from striate.data._classmap import listed
from striate.data._dataset import ImageData
from striate.data._scenes import require_scenes
from striate.data.doctor._whole import IMBALANCE, TINY
from striate.data.sources.shard_files import is_shards
from striate.data.sources.signals import is_signals


def suspicions(data: ImageData) -> list[str]:
    """Return in a few words each what is suspicious about opened data; opens no file again.

    The same content in several splits or classes, classes that a split lacks, classes that are tiny or much smaller
    than the largest. Of pictures with masks: the same picture in several splits, classes that the masks to train on
    lack.
    """
    if data.masks is not None:
        return _of_scenes(data)
    places: dict[bytes, set[tuple[str, int]]] = {}
    for part, split in data.splits.items():
        for digest, label in zip(split.digests, split.labels.tolist(), strict=True):
            places.setdefault(digest, set()).add((part, label))
    leaks = sum(len({part for part, _ in found}) > 1 for found in places.values())
    contradictions = sum(len({label for _, label in found}) > 1 for found in places.values())
    counts = Counter(data.counts()["train"])
    tiny = sum(count < TINY for count in counts.values())
    absent = [part for part in data.splits if data.absent(part)]
    words = []
    if leaks:
        words.append(f"{leaks:,} pictures are in several splits")
    if contradictions:
        words.append(f"{contradictions:,} pictures are in several classes")
    if absent:
        words.append(f"{' and '.join(absent)} lack classes")
    if tiny:
        words.append(f"{tiny:,} of {len(counts):,} classes have under {TINY} pictures to train on")
    elif max(counts.values()) > IMBALANCE * min(counts.values()):
        words.append(
            f"the largest class has {max(counts.values()) // min(counts.values())} times the smallest's pictures"
        )
    return words


def _of_scenes(data: ImageData) -> list[str]:
    places: dict[bytes, set[str]] = {}
    for part, split in data.splits.items():
        for scene in require_scenes(split).scenes:
            places.setdefault(scene.content, set()).add(part)
    leaks = sum(len(found) > 1 for found in places.values())
    pixels = require_scenes(data.splits["train"]).pixels
    absent = [name for name, count in zip(data.classes, pixels, strict=True) if not count]
    words = [f"{leaks:,} pictures are in several splits"] if leaks else []
    return words + ([f"no mask to train on shows {listed(absent)}"] if absent else [])


def warning(data: ImageData) -> str | None:
    """Return one line about what is suspicious in data opened for training, or None; of a folder of pictures also
    where to ask further.
    """
    words = suspicions(data)
    elsewhere = is_shards(data.name) or is_signals(data.name) or data.masks is not None
    further = "" if elsewhere else f" (see: striate doctor {data.name})"
    return f"{data.name}: {'; '.join(words)}{further}" if words else None
