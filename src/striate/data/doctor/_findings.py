"""What can be wrong with a data set, as data: the kinds, a finding, and all that an examination found."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Kind(NamedTuple):
    """A kind of finding: how bad it is, its heading, and what it means and what to do, for all findings of it."""

    severity: Severity
    title: str
    advice: str


# "error": training refuses the data as they are, or what it measures would not be true
KINDS: dict[str, Kind] = {
    "layout": Kind("error", "layout", "training would refuse this"),
    "closed-folder": Kind("error", "folders that cannot be read", "training would refuse this: allow reading them"),
    "empty-class": Kind("error", "class folders without files", "training would refuse this: fill or remove them"),
    "unknown-class": Kind(
        "error",
        "classes that training does not know",
        "they cannot be predicted and training would refuse them: rename or remove them, or add them to train/",
    ),
    "access": Kind("error", "files that cannot be read", "training would refuse them: allow reading or remove them"),
    "empty": Kind("error", "empty files", "training would refuse them: replace or remove them"),
    "type": Kind("error", "files that are no pictures", "training would refuse them: convert or remove them"),
    "size": Kind(
        "error",
        "pictures too large to decode",
        "they may be made to exhaust the memory and were not decoded; training would refuse them: make them smaller",
    ),
    "values": Kind("error", "pictures with values out of range", "training would refuse them: save them with 8 bits"),
    "truncated": Kind("error", "truncated pictures", "training would refuse them: copy them again or remove them"),
    "damaged": Kind("error", "damaged pictures", "training would refuse them: replace or remove them"),
    "two-labels": Kind(
        "error",
        "the same picture in several classes",
        "at most one label can be right: keep the right one and remove the others",
    ),
    "leak": Kind(
        "error",
        "the same picture in several splits",
        "what is measured on it is not true: keep it in one split only, best in the one that measures",
    ),
    "missing-class": Kind(
        "warning", "classes that a split lacks", "nothing is measured about them there: add pictures of them"
    ),
    "class-spelling": Kind(
        "warning",
        "class folders that differ in spelling only",
        "they are one class on some file systems and two on others: give them one name",
    ),
    "no-end": Kind(
        "warning",
        "JPEGs without their end",
        "they can be decoded, but their last rows may be grey: look at them, copy them again",
    ),
    "near-two-labels": Kind(
        "warning", "nearly the same picture in several classes", "at most one label may be right: look at them"
    ),
    "near-leak": Kind(
        "warning",
        "nearly the same picture in several splits",
        "what is measured on it is too good: keep it in one split only",
    ),
    "duplicate": Kind("warning", "the same picture several times", "it counts several times: keep one"),
    "near-duplicate": Kind(
        "warning",
        "nearly the same picture several times",
        "it counts several times, and where splits are set aside it may fall into two of them: keep one",
    ),
    "wrong-ending": Kind(
        "warning",
        "files whose ending is not their type",
        "training goes by the content and reads them, other programs may not: rename them",
    ),
    "tiny-class": Kind(
        "warning", "classes with few pictures", "they can hardly be learnt or measured: collect more, or merge classes"
    ),
    "constant": Kind(
        "warning", "pictures of one colour", "there is nothing to learn from: look whether they are meant"
    ),
    "link-loop": Kind("warning", "links that lead in a circle", "they were not followed: remove them"),
    "hidden-folder": Kind(
        "warning", "hidden folders", "training passes over what is in them: rename what belongs to the set"
    ),
    "stray": Kind(
        "warning", "files beside the class folders", "training passes over them: move them into their class, or away"
    ),
    "special": Kind("warning", "pipes, sockets and devices", "training passes over them: remove them"),
    "likely-label": Kind(
        "warning",
        "labels that are likely wrong",
        "the pictures look like another class: look at each, the likeliest first",
    ),
    "hidden-file": Kind("note", "hidden files", "training passes over them: usually nothing to do"),
    "imbalance": Kind(
        "note", "classes of very different size", "look at the recall of each class, not at the accuracy alone"
    ),
    "small": Kind("note", "pictures much smaller than the others", "they become blurred when they are brought to size"),
    "shape": Kind(
        "note", "pictures of an unusual shape", "they are distorted or cut when they are brought to size (data.fit)"
    ),
    "turned": Kind("note", "pictures that EXIF turns", "training turns them upright: nothing to do"),
    "modes": Kind("note", "pictures of several colour modes", "all are brought to grey or RGB with 8 bits"),
    "profile": Kind(
        "note", "pictures with a colour profile other than sRGB", "profiles are not applied: convert them to sRGB"
    ),
    "animated": Kind("note", "pictures with several frames", "only the first is used"),
}


class File(NamedTuple):
    """A file that training would see: its path below the root, its split ("" where there are none) and its class."""

    path: str
    part: str
    label: str


@dataclass(frozen=True)
class Finding:
    """One thing that was found: its kind (a key of KINDS), the paths below the root that it is about, and what it is.

    `leave_out` are those of the paths that training had better not use.
    """

    kind: str
    paths: tuple[str, ...]
    found: str
    leave_out: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity

    @property
    def sentence(self) -> str:
        """What was found, what it means and what to do."""
        return f"{self.found}; {KINDS[self.kind].advice}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "paths": list(self.paths),
            "sentence": self.sentence,
            "leave_out": list(self.leave_out),
        }


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings by severity, each severity in the order given."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


@dataclass(frozen=True)
class Statistics:
    """What the readable pictures are like; mean and deviation per channel (0..1) are those of the training pictures.

    They are taken after decoding to `size` by `fit`, as the network sees the pictures: exact, over every value.
    """

    formats: dict[str, int]
    modes: dict[str, int]
    smallest: tuple[int, int]  # width, height
    median: tuple[int, int]
    largest: tuple[int, int]
    channels: int  # 1 where all pictures are grey
    size: tuple[int, int]  # height, width
    fit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def settings(self) -> str:
        """The statistics as `striate train` takes them."""
        mean, std = (",".join(f"{value:.4f}" for value in values) for values in (self.mean, self.std))
        return f"--set data.channels={self.channels} --set data.mean={mean} --set data.std={std}"


@dataclass(frozen=True)
class Examination:
    """All that was found in a folder of images: findings, worst first, and what the pictures are like.

    `counts` has the number of files per split ("" where there are no split folders) and class; `statistics` is None
    where no picture can be read; `readable` are the files that can be.
    """

    root: str
    counts: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    statistics: Statistics | None
    readable: tuple[File, ...] = field(default=(), repr=False)

    @property
    def files(self) -> int:
        """How many files training would see."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    def of(self, kind: str) -> list[Finding]:
        """Return the findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    def plus(self, findings: Iterable[Finding]) -> "Examination":
        """Return the examination with further findings."""
        return replace(self, findings=worst_first([*self.findings, *findings]))

    def by_kind(self) -> dict[str, list[Finding]]:
        """Return the findings of each kind that there is, worst kinds first."""
        found = {kind: self.of(kind) for kind in KINDS}
        order = sorted((kind for kind in KINDS if found[kind]), key=lambda kind: SEVERITIES.index(KINDS[kind].severity))
        return {kind: found[kind] for kind in order}

    def count(self, severity: Severity) -> int:
        """Return how many findings there are of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Yield (path, why) for each file that training had better not use."""
        for finding in self.findings:
            for path in finding.leave_out:
                yield path, f"{finding.kind}: {finding.found}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        statistics = None if self.statistics is None else asdict(self.statistics)
        return {
            "root": self.root,
            "files": self.files,
            "counts": self.counts,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "notes": self.count("note"),
            "findings": [finding.to_json() for finding in self.findings],
            "statistics": statistics,
        }
