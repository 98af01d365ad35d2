"""Pictures that are there more than once: to the byte, or nearly; within a split, across splits, across classes."""

from collections.abc import Iterator, Sequence

from striate.data._classmap import listed
from striate.data.doctor._findings import File, Finding
from striate.data.doctor._sheet import Sheet
from striate.data.doctor._similar import groups, near_pairs

_KEPT_FIRST = ("test", "val", "train", "")  # a copy is kept where it measures; what was measured before stays true


def copies(files: Sequence[File], sheets: Sequence[Sheet]) -> list[Finding]:
    """Find the groups of files with the same content, and those of pictures that look the same but are not."""
    same: dict[bytes, list[int]] = {}
    for k, sheet in enumerate(sheets):
        same.setdefault(sheet.digest, []).append(k)
    found = [
        finding for members in same.values() if len(members) > 1 for finding in _exact([files[k] for k in members])
    ]
    # one of each content is enough to compare; what is of one colour looks like everything else that is
    firsts = [k for (k, *_) in same.values() if not sheets[k].constant]
    for group in groups(len(firsts), near_pairs([sheets[k].likeness for k in firsts])):
        members = [k for first in group for k in same[sheets[firsts[first]].digest]]
        found += _near([files[k] for k in members], [sheets[k] for k in members])
    return found


def _exact(group: list[File]) -> Iterator[Finding]:
    labels, parts = _labels(group), _parts(group)
    kept = min(group, key=lambda file: (_KEPT_FIRST.index(file.part), file.path))
    paths = tuple(file.path for file in group)
    others = tuple(path for path in paths if path != kept.path)
    what = f"{listed(paths)} are the same file"
    if len(labels) > 1:
        yield Finding("two-labels", paths, f"{what} under the labels {listed(labels)}", paths)
    if len(parts) > 1:
        yield Finding("leak", paths, f"{what} in {' and '.join(parts)}", others)
    if len(labels) == len(parts) == 1:
        yield Finding("duplicate", paths, what, others)


def _near(group: list[File], sheets: list[Sheet]) -> Iterator[Finding]:
    labels, parts = _labels(group), _parts(group)
    paths = tuple(file.path for file in group)
    what = f"{listed(paths)} look the same"
    if len(labels) > 1:
        yield Finding("near-two-labels", paths, f"{what} under the labels {listed(labels)}")
    if len(parts) > 1:
        kept = min((file.part for file in group), key=_KEPT_FIRST.index)
        others = tuple(file.path for file in group if file.part != kept)
        yield Finding("near-leak", paths, f"{what} in {' and '.join(parts)}", others)
    elif len(labels) == 1:
        sizes = [sheet.size[0] * sheet.size[1] for sheet in sheets]
        largest = paths[sizes.index(max(sizes))]
        # where splits are set aside at random, two such pictures may be parted: then they leak
        others = tuple(path for path in paths if path != largest) if parts == [""] else ()
        yield Finding("near-duplicate", paths, what, others)


def _labels(group: list[File]) -> list[str]:
    return sorted({file.label for file in group})


def _parts(group: list[File]) -> list[str]:
    return sorted({file.part for file in group}, key=("train", "val", "test", "").index)
