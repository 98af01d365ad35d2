"""From a picture file to uint8 values at the set's size: one function for files, and the same steps for arrays."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from striate.data._preprocessing import Preprocessing
from striate.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
PIXEL_LIMIT = 89_478_485  # where Pillow, too, begins to suspect a file made to exhaust the memory
FILE_LIMIT = 1 << 30  # bytes; what is larger is a video or an archive

_FILTER = Image.Resampling.BILINEAR  # antialiased when shrinking; unlike bicubic it never overshoots black or white
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


Fault = Literal["access", "empty", "type", "size", "values", "truncated", "damaged"]


class ImageError(InputError):
    """A picture that cannot be read; `.name` says which, `.reason` why, `.fault` the same in one word."""

    def __init__(self, name: str, reason: str, fault: Fault = "damaged") -> None:
        super().__init__(name, reason)
        self.name, self.reason, self.fault = name, reason, fault

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def decode_image(source: Path | bytes, preprocessing: Preprocessing, *, name: str | None = None) -> NDArray[np.uint8]:
    """Decode a picture file, or the bytes of one, to uint8 C x h x w at `preprocessing`'s size and channels.

    JPEG, PNG, WebP, BMP, GIF, TIFF and PPM; of an animation the first frame. EXIF orientation is applied.
    Transparency lies on black, as do `fit="pad"` and the border. 16-bit grey is scaled to 8 bits; 32-bit integers are
    taken as 16-bit values and floats as 0..1, anything outside is refused. Grey is ITU-R 601 luma. Resizing is
    antialiased bilinear. Raises ImageError, with `name` (default: the path), for whatever is no such picture or has
    over 89 million pixels.
    """
    name = name or ("picture" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_picture(source, name=name)
    with opened(data, name) as image:
        # Twice the wanted size leaves the filter enough to work on; the longer side both ways, because the
        # orientation may swap them.
        return fit_picture(upright(image, preprocessing.channels, 2 * max(preprocessing.size)), preprocessing)


@contextlib.contextmanager
def opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """Open a picture file's content; whatever goes wrong here or with the picture in the block is an ImageError."""
    if not data:
        raise ImageError(name, "the file is empty: replace or remove it", "empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except _RefusalError as error:
        raise ImageError(name, str(error), error.fault) from None
    except UnidentifiedImageError:
        reason = "not a JPEG, PNG, WebP, BMP, GIF, TIFF or PPM picture: convert or remove it"
        raise ImageError(name, reason, "type") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(name, f"the picture has more than {PIXEL_LIMIT:,} pixels: make it smaller", "size") from None
    except MemoryError:
        raise  # says nothing about the file
    except Exception as error:  # decoders fail in many ways on damaged files: OSError, SyntaxError, struct.error, ...
        reason = f"the picture is damaged or incomplete ({error}): replace or remove it"
        raise ImageError(name, reason, "truncated" if "truncated" in str(error).lower() else "damaged") from error


def own_size(data: bytes, name: str) -> tuple[int, int]:
    """Return (height, width) of a picture file's content, upright, without decoding it; raises ImageError."""
    with opened(data, name) as image:
        width, height = image.size
        turned = orientation(image) >= 5  # by a quarter
    return (width, height) if turned else (height, width)


def read_picture(path: Path, *, name: str | None = None) -> bytes:
    """Return the content of a file that may be a picture; raises ImageError if it cannot be read or has over 1 GiB."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            reason = "the file has more than 1 GiB: it is no picture for training, remove it"
            raise ImageError(name or str(path), reason, "size")
        return path.read_bytes()
    except OSError as error:
        reason = f"the file cannot be read ({error.strerror or error}): allow reading it, or remove it"
        raise ImageError(name or str(path), reason, "access") from error


def fit_array(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Bring uint8 C x H x W (C 1 or 3) to `preprocessing`'s size and channels, as decoding a PNG of it would."""
    if image.shape == (preprocessing.channels, *preprocessing.size):
        return image
    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    return fit_picture(Image.fromarray(np.ascontiguousarray(pixels)), preprocessing)


def fit_arrays(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Bring uint8 N x C x H x W to `preprocessing`'s size and channels; returned as it is where nothing changes."""
    shape = (preprocessing.channels, *preprocessing.size)
    if images.shape[1:] == shape:
        return images
    fitted = np.empty((len(images), *shape), np.uint8)
    for k, image in enumerate(images):
        fitted[k] = fit_array(image, preprocessing)
    return fitted


class _RefusalError(Exception):
    """A picture that could be decoded but is not; the message says why."""

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


def upright(image: Image.Image, channels: int, side: int) -> Image.Image:
    """Decode an opened picture in mode L or RGB, turned as its EXIF orientation says.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where its sides stay at least `side` then.
    """
    width, height = image.size
    if width * height > PIXEL_LIMIT:
        reason = f"the picture has {width} x {height} pixels, more than {PIXEL_LIMIT:,}: make it smaller"
        raise _RefusalError(reason, "size")
    image.draft("RGB" if channels == 3 else "L", (side, side))
    image.load()
    turn = _TURNS.get(orientation(image))
    image = _eight_bits(image)
    return image.transpose(turn) if turn is not None else image


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a picture, 1 to 8: 1 is upright, and what is assumed where it is not said."""
    try:
        value: Any = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged note about the picture is no damage to the picture
        return 1
    return value if isinstance(value, int) else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return the picture in mode L or RGB."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_scaled(np.asarray(image)))
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        black.alpha_composite(image.convert("RGBA"))
        return black.convert("RGB")
    return _in_mode(image, "L" if image.mode in {"1", "L"} else "RGB")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return the picture in a mode: itself if it has it, for `convert` copies."""
    return image if image.mode == mode else image.convert(mode)


def _scaled(values: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = values.min(), values.max()
    most = 1 if values.dtype.kind == "f" else 65535
    if not (low >= 0 and high <= most):  # so written, NaN is refused as well
        reason = f"its values go from {low} to {high} where 0 to {most} was expected: save it with 8 bits"
        raise _RefusalError(reason, "values")
    return np.rint(values.astype(np.float64) * (255 / most)).astype(np.uint8)


def fit_picture(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Bring a picture of mode L or RGB to size and channels."""
    height, width = preprocessing.size
    if preprocessing.channels == 1:
        image = _in_mode(image, "L")
    if preprocessing.fit == "stretch":
        image = image.resize((width, height), _FILTER)
    elif preprocessing.fit == "crop":
        image = ImageOps.fit(image, (width, height), _FILTER)
    else:
        image = _padded(image, width, height)
    if preprocessing.channels == 3:
        image = _in_mode(image, "RGB")
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if preprocessing.channels == 1 else pixels.transpose(2, 0, 1))


def _padded(image: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(width / image.width, height / image.height)
    inner = (min(width, max(1, round(image.width * scale))), min(height, max(1, round(image.height * scale))))
    frame = Image.new(image.mode, (width, height))
    frame.paste(image.resize(inner, _FILTER), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return frame
