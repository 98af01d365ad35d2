"""`striate predict`: what a bundle says about pictures."""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli import _options as options
from striate.cli._segment import Form, Masks, segment
from striate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from striate.bundle import Prediction


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle or a run folder.", show_default=False)],
    images: Annotated[
        list[str], typer.Argument(help="Files, folders, patterns, or - for a list of them on standard input.")
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to tell per picture.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per batch.")] = 64,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Of a segmentation: write a mask NAME.png for each picture here.", show_default=False
        ),
    ] = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="With --out: also the picture under its mask, NAME-overlay.png.")
    ] = False,
    crf: Annotated[
        bool, typer.Option("--crf", help="Of a segmentation: let masks follow edges, by a dense random field.")
    ] = False,
    precision: options.Precision = None,
    threads: options.Threads = None,
    no_native: options.NoNative = False,
    keep_memory: options.KeepMemory = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Comma-separated values: path, label, probability, error.")
    ] = False,
) -> None:
    """Predict the class of pictures or series, with calibrated probabilities, or the classes of a picture's pixels.

    A picture that cannot be read is reported by name and the rest goes on; the exit code is then 1.

    Examples:

    striate predict runs/digits/model.striate scan.png

    striate predict model.striate photos/ "more/*.jpg" --csv

    find . -name "*.png" | striate predict model.striate - --json

    striate predict runs/scenes streets/ --out masks/ --overlays
    """
    if overlays and out is None:
        raise InputError("predict: --overlays needs --out, the folder to write them to")
    if as_json and as_csv:
        raise InputError("predict: choose one of --json and --csv")
    asked = options.runtime_options(precision, threads, no_native, keep_memory)

    from striate.bundle import load
    from striate.runtime import choose_for_use

    model = load(options.bundle_path(bundle))
    form: Form = "json" if as_json else "csv" if as_csv else "text"
    with choose_for_use(asked, trained=model.provenance.get("runtime")).applied():
        if model.task == "segmentation":
            masks = Masks(out, overlays=overlays, crf=crf)
            failed = segment(model, _sources(images), masks, form, top)
        else:
            if out is not None or overlays or crf:
                raise InputError("predict: --out, --overlays and --crf are for masks; this model gives labels")
            found = model.predict(_sources(images), batch_size=batch_size, top=top)
            failed = {"json": _json, "csv": _csv, "text": _table}[form](found)
    if failed:
        raise typer.Exit(1)


def _sources(images: list[str]) -> list[str]:
    if "-" not in images:
        return images
    listed = [line for line in sys.stdin.read().splitlines() if line.strip()]
    given = [image for image in images if image != "-"]
    if not listed and not given:
        raise InputError("predict: the list on standard input is empty; expected one path per line")
    return given + listed


def _json(found: "Iterator[Prediction]") -> int:
    import json

    failed = 0
    for prediction in found:
        failed += prediction.error is not None
        print(json.dumps(_values(prediction), ensure_ascii=False), flush=True)
    return failed


def _csv(found: "Iterator[Prediction]") -> int:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "label", "probability", "error"])
    failed = 0
    for prediction in found:
        failed += prediction.error is not None
        probability = "" if prediction.probability is None else f"{prediction.probability:.6f}"
        writer.writerow([prediction.path, prediction.label or "", probability, prediction.error or ""])
    return failed


def _table(found: "Iterable[Prediction]") -> int:
    from striate.evaluation import printable

    failed = 0
    for prediction in found:
        if prediction.error is not None:
            failed += 1
            print(f"striate: {prediction.path}: {prediction.error}", file=sys.stderr)
            continue
        rest = ", ".join(f"{printable(label)} {100 * p:.1f} %" for label, p in prediction.top[1:])
        first = f"{printable(prediction.label)} {100 * (prediction.probability or 0):.1f} %"
        print(f"{printable(prediction.path)}  {first}" + (f"  ({rest})" if rest else ""))
    if failed:
        print(f"striate: {failed} of the pictures could not be read", file=sys.stderr)
    return failed


def _values(prediction: "Prediction") -> dict[str, Any]:
    return {
        "path": str(prediction.path),
        "label": prediction.label,
        "probability": prediction.probability,
        "top": [{"label": label, "probability": p} for label, p in prediction.top],
        "error": prediction.error,
    }
