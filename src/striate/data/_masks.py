"""Masks: which class each pixel of a picture shows, as files hold it and as networks learn it."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from striate.data._decode import PIXEL_LIMIT, ImageError, read_picture
from striate.data._preprocessing import Preprocessing
from striate.errors import InputError
from striate.files import replacing

Mask = NDArray[np.uint8]
Colour = tuple[int, int, int]

VOID = 255  # in memory: a pixel that nobody has labelled; it is neither learned nor counted
MOST_CLASSES = 254
FORMATS = ("PNG", "BMP", "TIFF", "PPM")  # nothing that is compressed with loss


@dataclass(frozen=True)
class Masks:
    """What the values of mask files mean: class k is stored as `values[k]` and shown in `colours[k]` (RGB, 0..255).

    In memory masks hold the class, 0 to K - 1, or VOID; the values in `void` become that.
    """

    values: tuple[int, ...]
    colours: tuple[Colour, ...]
    void: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        every = [*self.values, *self.void]
        if not all(isinstance(value, int) and 0 <= value <= 255 for value in every) or len(set(every)) != len(every):
            raise InputError(f"masks: expected distinct values from 0 to 255, got {self.values} and void {self.void}")
        if not 1 <= len(self.values) <= MOST_CLASSES or len(self.colours) != len(self.values):
            raise InputError(
                f"masks: expected a colour for each of 1 to {MOST_CLASSES} values, got {len(self.colours)} colours "
                f"for {len(self.values)} values"
            )
        if not all(len(colour) == 3 and all(0 <= part <= 255 for part in colour) for colour in self.colours):
            raise InputError("masks: expected each colour as three numbers from 0 to 255")

    def classes_of(self, stored: Mask) -> Mask:
        """Return the classes that stored values mean, VOID for every value that is none."""
        table = np.full(256, VOID, np.uint8)
        table[list(self.values)] = np.arange(len(self.values))
        return table[stored]

    def stored(self, mask: Mask) -> Mask:
        """Return the values in which the classes of a mask are stored; VOID is stored as the first void value."""
        table = np.full(256, self.void[0] if self.void else VOID, np.uint8)
        table[: len(self.values)] = self.values
        return table[mask]

    def painted(self, mask: Mask) -> NDArray[np.uint8]:
        """Return a mask (h x w) in its colours, h x w x 3; VOID is white."""
        table = np.full((256, 3), 255, np.uint8)
        table[: len(self.colours)] = self.colours
        return table[mask]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary from which `from_json` makes an equal object."""
        return {"values": list(self.values), "colours": [list(c) for c in self.colours], "void": list(self.void)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Masks":
        """Make it from `to_json`'s dictionary; raises InputError if it is none."""
        try:
            colours = tuple((int(r), int(g), int(b)) for r, g, b in values["colours"])
            return cls(tuple(values["values"]), colours, tuple(values["void"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"masks: not a description this version understands ({error!r})") from error


class StoredMask(NamedTuple):
    """A mask file's content: its values (h x w) and its palette, if it has one."""

    values: Mask
    palette: tuple[Colour, ...] | None


def read_mask(source: Path | bytes, *, name: str | None = None) -> StoredMask:
    """Read a PNG, BMP, TIFF or PPM file whose pixels are labels: palette indices, or grey values up to 255.

    Raises ImageError, with `name` (default: the path), for whatever is no such file.
    """
    name = name or ("mask" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_picture(source, name=name)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise ImageError(name, f"the mask has more than {PIXEL_LIMIT:,} pixels: make it smaller")
            return StoredMask(_values(image, name), _palette(image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        reason = "not a PNG, BMP, TIFF or PPM mask (other formats may change labels): convert it"
        raise ImageError(name, reason) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders fail in many ways on damaged files
        raise ImageError(name, f"the mask is damaged or incomplete ({error}): replace it") from error


def fit_mask(mask: Mask, preprocessing: Preprocessing) -> Mask:
    """Bring a mask of classes (h x w) to `preprocessing`'s size by the nearest pixel; around it is VOID."""
    height, width = preprocessing.size
    if mask.shape == (height, width):
        return mask
    box = inner_box(mask.shape, preprocessing)
    resized = Image.fromarray(mask).resize((box.width, box.height), Image.Resampling.NEAREST)
    fitted = np.full((height, width), VOID, np.uint8)
    fitted[box.top : box.top + box.height, box.left : box.left + box.width] = np.asarray(resized)
    return fitted


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


def inner_box(own: tuple[int, ...], preprocessing: Preprocessing) -> Box:
    """Return where a picture of its `own` (height, width) lies within `preprocessing`'s size."""
    height, width = preprocessing.size
    if preprocessing.fit == "stretch":
        return Box(0, 0, height, width)
    if preprocessing.fit == "crop":
        raise InputError("masks: fit 'crop' loses pixels that have labels: use 'stretch' or 'pad'")
    scale = min(width / own[1], height / own[0])  # as pictures are fitted
    inner = min(height, max(1, round(own[0] * scale))), min(width, max(1, round(own[1] * scale)))
    return Box((height - inner[0]) // 2, (width - inner[1]) // 2, *inner)


def write_mask(path: Path, mask: Mask, masks: Masks) -> None:
    """Write a mask of classes (h x w) as a PNG with a palette, atomically: stored values in the classes' colours."""
    height, width = mask.shape
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(masks.stored(mask)).tobytes())
    palette = np.full((256, 3), 255, np.uint8)
    palette[list(masks.values)] = masks.colours
    image.putpalette(palette.tobytes())
    with replacing(path) as temporary:
        image.save(temporary, "PNG")


def usual_colour(value: int) -> Colour:
    """Return the colour of a label in the masks of PASCAL VOC: its bits, spread over the three channels."""
    red = green = blue = 0
    for bit in range(8):
        red |= (value & 1) << (7 - bit)
        green |= (value >> 1 & 1) << (7 - bit)
        blue |= (value >> 2 & 1) << (7 - bit)
        value >>= 3
    return red, green, blue


def _values(image: Image.Image, name: str) -> Mask:
    if image.mode in {"P", "L", "1"}:
        return np.array(image).astype(np.uint8)
    if image.mode.startswith("I"):
        values = np.array(image)
        if values.size and not (values.min() >= 0 and values.max() <= 255):
            raise ImageError(name, f"the mask has values up to {values.max()} where labels are 0 to 255: renumber them")
        return values.astype(np.uint8)
    raise ImageError(
        name,
        f"the mask has colours (mode {image.mode}) where each pixel must be a label: save it with a palette or as grey "
        "values",
    )


def _palette(image: Image.Image) -> tuple[Colour, ...] | None:
    if image.mode != "P" or image.palette is None:
        return None
    flat = image.getpalette("RGB") or []
    return tuple((flat[k], flat[k + 1], flat[k + 2]) for k in range(0, len(flat) - 2, 3))
