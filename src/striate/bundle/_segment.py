"""From picture files to masks: a picture at a time through the network, decoded ahead, none stops the rest."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from striate.data import (
    ImageError,
    Masks,
    Preprocessing,
    decode_image,
    inner_box,
    own_size,
    read_picture,
    require_pictures,
    write_mask,
)
from striate.errors import InputError
from striate.evaluation import dense_logits, mask_of, overlay
from striate.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from striate.bundle._bundle import Bundle

_ENDING = ".png"


class Segmented(NamedTuple):
    """What a model says about the pixels of a picture; where it cannot be read, `error` says why and the rest is empty.

    `mask` holds classes, uint8 of the picture's own height and width; `shares` is the part of the pixels of each class.
    """

    path: Path
    mask: npt.NDArray[np.uint8] | None
    shares: dict[str, float]
    error: str | None = None


class _Decoded(NamedTuple):
    picture: npt.NDArray[np.uint8]
    own: tuple[int, int]


def segmented(bundle: "Bundle", paths: Sequence[Path], *, crf: bool, threads: int) -> Iterator[Segmented]:
    """Yield the mask of each picture, in order; a few decoded pictures are held."""
    preprocessing = require_pictures(bundle.preprocessing)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[tuple[Path, Future[_Decoded | str]]] = deque()

    def decode(path: Path) -> _Decoded | str:
        try:
            data = read_picture(path)
            return _Decoded(decode_image(data, preprocessing, name=str(path)), own_size(data, str(path)))
        except ImageError as error:
            return error.reason

    try:
        for path in paths:
            waiting.append((path, pool.submit(decode, path)))
            if len(waiting) > 2 * threads:
                yield _segment(bundle, *waiting.popleft(), crf)
        while waiting:
            yield _segment(bundle, *waiting.popleft(), crf)
    finally:
        pool.shutdown(cancel_futures=True)


def write_segmented(found: Segmented, folder: Path, masks: Masks, *, overlays: bool = False) -> Path:
    """Write a mask to `folder` as NAME.png with a palette, and with `overlays` NAME-overlay.png.

    Returns the mask's path. NAME is the picture's, without its ending. Each file is written atomically. Raises
    InputError if there is no mask and StriateError if the disk is full.
    """
    if found.mask is None:
        raise InputError(f"{found.path}: has no mask to write ({found.error})")
    place = folder / (found.path.stem + _ENDING)
    write_mask(place, found.mask, masks)
    if overlays:
        from PIL import Image

        height, width = found.mask.shape
        picture = decode_image(found.path, Preprocessing(3, (height, width)))
        drawn = np.ascontiguousarray(overlay(picture, found.mask, masks).transpose(1, 2, 0))
        with replacing(folder / f"{found.path.stem}-overlay{_ENDING}") as temporary:
            Image.fromarray(drawn).save(temporary, "PNG")
    return place


def require_distinct(paths: Sequence[Path], folder: Path, *, overlays: bool = False) -> None:
    """Raise InputError if two pictures would become the same file in `folder`, or a picture would be overwritten."""
    endings = (_ENDING, f"-overlay{_ENDING}") if overlays else (_ENDING,)
    pictures = {path.resolve() for path in paths}
    taken: dict[Path, Path] = {}
    for path in paths:
        for ending in endings:
            place = (folder / (path.stem + ending)).resolve()
            if place in pictures:
                raise InputError(f"{folder}: the mask of {path} would overwrite {place}; name another folder")
            if taken.setdefault(place, path) != path:
                raise InputError(
                    f"{folder}: {taken[place]} and {path} would both become {place.name}; predict them one folder at a "
                    "time"
                )


def _segment(bundle: "Bundle", path: Path, decoding: "Future[_Decoded | str]", crf: bool) -> Segmented:
    decoded = decoding.result()
    if isinstance(decoded, str):
        return Segmented(path, None, {}, decoded)
    preprocessing = require_pictures(bundle.preprocessing)
    scores = dense_logits(bundle.network(), decoded.picture[None], preprocessing)[0]
    if crf:
        scores = _refined(scores, decoded, preprocessing)
    mask = mask_of(scores, decoded.own, preprocessing)
    counts = np.bincount(mask.reshape(-1), minlength=len(bundle.classes))
    shares = {name: int(count) / mask.size for name, count in zip(bundle.classes.names, counts, strict=True)}
    return Segmented(path, mask, shares)


def _refined(scores: "Tensor", decoded: _Decoded, preprocessing: Preprocessing) -> "Tensor":
    """Return log probabilities that follow the picture's edges, where the picture is; around it nothing changes."""
    import torch

    from striate.models.dense_crf import refine

    top, left, height, width = inner_box(decoded.own, preprocessing)
    inner = (slice(None), slice(top, top + height), slice(left, left + width))
    probabilities = scores.softmax(0)
    probabilities[inner] = refine(probabilities[inner], torch.from_numpy(decoded.picture).to(scores.device)[inner])
    return probabilities.clamp(min=1e-8).log()
