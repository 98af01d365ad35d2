"""How `striate predict` shows and writes what a segmentation says."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from striate.bundle import Bundle, Segmented

Form = Literal["text", "csv", "json"]


class Masks(NamedTuple):
    """What becomes of the masks."""

    folder: Path | None  # where they are written; None: they are not
    overlays: bool
    crf: bool


class _Told(NamedTuple):
    found: "Segmented"
    mask: Path | None  # the file


def segment(model: "Bundle", sources: Sequence[str], masks: Masks, form: Form, top: int) -> int:
    """Label the pixels of pictures, write the masks, tell the classes' shares; return how many could not be read."""
    from striate.bundle import find_images, require_distinct

    paths = find_images(sources)
    if masks.folder is not None:
        require_distinct(paths, masks.folder, overlays=masks.overlays)
    told = _written(model, paths, masks)
    if form == "json":
        return _json(told)
    if form == "csv":
        return _csv(told, model.classes.names)
    return _text(told, top)


def _written(model: "Bundle", paths: Sequence[Path], masks: Masks) -> "Iterator[_Told]":
    from striate.bundle import write_segmented

    assert model.masks is not None
    for found in model.segment(paths, crf=masks.crf):
        file = None
        if masks.folder is not None and found.mask is not None:
            file = write_segmented(found, masks.folder, model.masks, overlays=masks.overlays)
        yield _Told(found, file)


def _json(told: Iterable[_Told]) -> int:
    failed = 0
    for found, file in told:
        failed += found.error is not None
        values = {
            "path": str(found.path),
            "size": None if found.mask is None else list(found.mask.shape),
            "shares": found.shares,
            "mask": None if file is None else str(file),
            "error": found.error,
        }
        print(json.dumps(values, ensure_ascii=False), flush=True)
    return failed


def _csv(told: Iterable[_Told], classes: Sequence[str]) -> int:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "mask", "error", *classes])
    failed = 0
    for found, file in told:
        failed += found.error is not None
        shares = [f"{found.shares[name]:.6f}" if found.shares else "" for name in classes]
        writer.writerow([found.path, file or "", found.error or "", *shares])
    return failed


def _text(told: Iterable[_Told], top: int) -> int:
    from striate.evaluation import printable

    failed = 0
    for found, file in told:
        if found.error is not None:
            failed += 1
            print(f"striate: {found.path}: {found.error}", file=sys.stderr)
            continue
        largest = sorted(found.shares.items(), key=lambda share: -share[1])[:top]
        words = ", ".join(f"{printable(name)} {100 * share:.1f} %" for name, share in largest if share)
        print(f"{printable(found.path)}  {words}" + (f"  -> {printable(file)}" if file else ""))
    if failed:
        print(f"striate: {failed} of the pictures could not be read", file=sys.stderr)
    return failed
