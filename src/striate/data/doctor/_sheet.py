"""What is known of one file once it has been read: 1.5 kB in all, whatever the file's size."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.data._decode import Fault, ImageError, fit_picture, opened, orientation, read_picture, upright
from striate.data._preprocessing import Preprocessing
from striate.data._splits import content_digest
from striate.data.doctor._similar import SIDE, Likeness, likeness

_CONTENTS = (  # what is often found under a picture's name, by how it begins
    (b"\x89PNG", "the beginning of a PNG"),
    (b"\xff\xd8\xff", "the beginning of a JPEG"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "XML"),
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a readable picture is like; sizes are (width, height) as it is shown."""

    digest: bytes
    format: str
    mode: str
    size: tuple[int, int]
    orientation: int
    animated: bool
    profile: bool  # a colour profile other than sRGB
    ended: bool  # not a JPEG whose end marker is missing
    constant: bool  # all of one colour
    sums: tuple[int, ...]  # of the values and of their squares, per channel, at the set's size
    squares: tuple[int, ...]
    likeness: Likeness


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that training would refuse: what is wrong, in a word and in words."""

    fault: Fault
    what: str


def read_sheet(path: Path, preprocessing: Preprocessing) -> Sheet | Refusal:
    """Read, check and decode a file as training does; a picture with too many pixels is not decoded."""
    try:
        data = read_picture(path)
        with opened(data, str(path)) as image:
            return _describe(image, data, preprocessing)
    except ImageError as error:
        what = error.reason.rpartition(": ")[0]  # the advice is the kind's
        content = _content(data) if error.fault == "type" else ""
        return Refusal(error.fault, f"{what}, but {content}" if content else what)


def _describe(image: Image.Image, data: bytes, preprocessing: Preprocessing) -> Sheet:
    size, mode, kind = image.size, image.mode, image.format or ""
    profile = image.info.get("icc_profile")
    # JPEGs are decoded at reduced size, as training does: every byte is read all the same, so damage is seen
    picture = upright(image, preprocessing.channels, max(2 * max(preprocessing.size), SIDE))
    turned = orientation(image)
    animated = False
    with contextlib.suppress(Exception):  # what follows the first frame does not matter to training
        animated = bool(getattr(image, "is_animated", False)) and kind not in {"JPEG", "MPO"}
    sums, squares = _sums(fit_picture(picture, preprocessing))
    low, high = np.transpose(np.atleast_2d(np.asarray(picture.getextrema())))
    return Sheet(
        digest=content_digest(data),
        format="JPEG" if kind == "MPO" else kind,
        mode=mode,
        size=size if turned < 5 else (size[1], size[0]),
        orientation=turned,
        animated=animated,
        profile=isinstance(profile, bytes) and b"sRGB" not in profile,
        ended=kind not in {"JPEG", "MPO"} or b"\xff\xd9" in data[data.rfind(b"\xff\xda") :],
        constant=bool((low == high).all()),
        sums=sums,
        squares=squares,
        likeness=likeness(picture),
    )


def _sums(values: NDArray[np.uint8]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    flat = values.reshape(len(values), -1).astype(np.int64)
    return tuple(flat.sum(axis=1).tolist()), tuple((flat * flat).sum(axis=1).tolist())


def _content(data: bytes) -> str:
    start = data[:512].lstrip()
    for beginning, what in _CONTENTS:
        if start[: len(beginning)].lower() == beginning.lower():
            return what
    if data[4:8] == b"ftyp":
        return "an HEIC or AVIF picture" if data[8:12] in {b"heic", b"heix", b"mif1", b"avif"} else "a video"
    return "" if b"\0" in start else "text"
