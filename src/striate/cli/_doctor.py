"""`striate doctor`: what may spoil a training, before it begins."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from striate.cli import _options as options
from striate.errors import InputError

if TYPE_CHECKING:
    from striate.data import Preprocessing, Progress
    from striate.data.doctor import Examination, Finding


def doctor(
    data: Annotated[str, typer.Argument(help="A folder of images.", show_default=False)],
    run: Annotated[
        Path | None,
        typer.Option(help="A run folder or a bundle: look for labels that are likely wrong, too.", show_default=False),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="How many likely wrong labels to name.")] = 50,
    size: Annotated[
        str | None,
        typer.Option(metavar="H,W", help="The size for means and deviations; default: 96,96.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Name every finding, not the first few.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with pictures to this file.", show_default=False)
    ] = None,
    quarantine: Annotated[
        Path | None,
        typer.Option(help="Write the files to leave out to this file, for train --exclude.", show_default=False),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Examine a folder of images before training: damaged files, copies, leaks, odd classes; nothing is changed.

    Every file is decoded once. The exit code is 1 if there are errors: what training would refuse, or what would make
    its measures untrue.

    Examples:

    striate doctor photos/

    striate doctor photos/ --run runs/flowers --html examination.html --quarantine leave-out.txt

    striate train photos/ --exclude leave-out.txt
    """
    root = _folder(data)
    for path in (html, quarantine):
        if path is not None and path.resolve().is_relative_to(root.resolve()):
            raise InputError(f"doctor: {path} is within {data}, where nothing is changed: write it elsewhere")

    from striate.cli._show import show
    from striate.data import write_exclusion
    from striate.data.doctor import as_text, examine, write_html

    with show() as listener:
        found = examine(root, preprocessing=_preprocessing(size), progress=listener.progress)
        if run is not None:
            found = found.plus(_likely(found, run, most, listener.progress))
    if html is not None:
        write_html(found, html)
    if quarantine is not None:
        write_exclusion(quarantine, found.left_out())
    if as_json:
        options.print_json(found.to_json())
    else:
        print(as_text(found, everything=everything))
        if html is not None:
            print(f"report {html}")
        if quarantine is not None:
            count = len({path for path, _ in found.left_out()})
            print(f"{count:,} files to leave out in {quarantine}: striate train {data} --exclude {quarantine}")
    if found.count("error"):
        raise typer.Exit(1)


def _folder(data: str) -> Path:
    from striate.data import KNOWN, is_shards, is_signals

    if data in KNOWN and not Path(data).is_dir():
        raise InputError(f"doctor: {data} is a known set, checked when it is read; name a folder of images")
    if is_signals(data):
        raise InputError(f"doctor: {data} has series, checked when they are opened; name a folder of images")
    if is_shards(data):
        raise InputError(f"doctor: {data} are shards, checked when they are opened; name a folder of images")
    return Path(data)


def _preprocessing(size: str | None) -> "Preprocessing":
    from dataclasses import replace

    from striate.data.doctor import LIKE_TRAINING

    if size is None:
        return LIKE_TRAINING
    try:
        height, width = (int(part) for part in size.split(","))
    except ValueError:
        raise InputError(f"doctor: --size must be height and width, such as 96,96, got {size!r}") from None
    return replace(LIKE_TRAINING, size=(height, width))


def _likely(found: "Examination", run: Path, most: int, progress: "Progress") -> "list[Finding]":
    """Return the labels that are likely wrong by what a finished run's network sees in the pictures."""
    from striate.bundle import load
    from striate.data import FolderSplit, Preprocessing
    from striate.data.doctor import likely_errors
    from striate.evaluation import penultimate_features
    from striate.runtime import RuntimeOptions, choose_for_use

    bundle = load(options.bundle_path(run))
    if not isinstance(bundle.preprocessing, Preprocessing):
        raise InputError(f"doctor: {run} is a model for series, not for pictures")
    files = [file for file in found.readable if file.label in bundle.classes]
    if not files:
        raise InputError(f"doctor: {run} knows none of the classes of {found.root}: give a run on these data")
    labels = [bundle.classes.index(file.label) for file in files]
    paths = [file.path for file in files]
    pictures = FolderSplit(Path(found.root), paths, labels, bundle.preprocessing, [b""] * len(paths))
    with choose_for_use(RuntimeOptions(), trained=bundle.provenance.get("runtime")).applied():
        features = penultimate_features(bundle.model, pictures, bundle.preprocessing, progress=progress)
    return [
        error.finding(paths[error.row], bundle.classes.names) for error in likely_errors(features, labels, most=most)
    ]
