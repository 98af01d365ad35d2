"""`striate inspect`: a network layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli import _options as options
from striate.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def inspect(
    network: Annotated[
        str,
        typer.Argument(help="A network's name (see `striate models`), a bundle or a run folder.", show_default=False),
    ],
    size: Annotated[
        str | None, typer.Option(metavar="H,W", help="Height and width, or the length of series; default: the paper's.")
    ] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Input channels; default: the paper's.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Classes; default: the paper's.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="Set one option of the network; may be repeated."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="How many inputs the memory is for.")] = 1,
    wide: Annotated[bool, typer.Option("--wide", help="All columns: neurons, connections, weights, notes.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show a network layer by layer: output sizes, parameters, MACs, FLOPs, memory, receptive fields.

    A MAC is a multiplication and an addition, 2 FLOPs. Nothing is computed. docs/inspect.md says what the columns mean.

    Examples:

    striate inspect lenet5

    striate inspect convnet --size 64,64 --set norm=none --wide

    striate inspect runs/digits/model.striate --json
    """
    changes = {"size": _size(size), "channels": channels, "classes": classes}
    given = {name: value for name, value in changes.items() if value is not None} | _options(settings or [])
    model = _from_bundle(network, given) if _is_path(network) else _from_catalog(network, given)

    from striate.insight import summarize

    summary = summarize(model, batch=batch)
    if as_json:
        options.print_json(summary.to_json())
    else:
        print(summary.as_text(width=_width(wide=wide), wide=wide))
    if summary.failure is not None:
        raise typer.Exit(1)


def _is_path(network: str) -> bool:
    return "/" in network or "\\" in network or network.endswith(".striate") or Path(network).exists()


def _from_catalog(name: str, given: dict[str, Any]) -> "nn.Module":
    from striate.models import card

    known = card(name)

    import torch

    from striate.models import build

    usual: dict[str, Any] = {"classes": known.classes, "channels": known.channels, "size": known.size}
    with torch.device("meta"):  # no numbers: building takes no time and no memory
        return build(name, **(usual | given))


def _from_bundle(path: str, given: dict[str, Any]) -> "nn.Module":
    from striate.bundle import load

    if given:
        raise InputError(f"inspect: a bundle's network is as it was trained; leave out {', '.join(sorted(given))}")
    return load(options.bundle_path(Path(path))).model


def _size(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        size = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        size = ()
    if len(size) not in {1, 2}:
        raise InputError(
            f"inspect: --size must be height and width, such as 224,224, or the length of series, got {text!r}"
        )
    if min(size) < 1:
        raise InputError(f"inspect: --size must be 1 or more on each axis, got {text!r}")
    return size


def _options(settings: list[str]) -> dict[str, Any]:
    """Read OPTION=VALUE; a value is JSON, or a word."""
    import json

    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise InputError(f"inspect: --set takes OPTION=VALUE, for example --set dropout=0.3, got {setting!r}")
        if name in {"size", "channels", "classes"}:
            raise InputError(f"inspect: give --{name} instead of --set {setting}")
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


def _width(*, wide: bool) -> int:
    """The columns of the terminal; in a file, as many as the table takes."""
    import shutil
    import sys

    usual = 160 if wide else 100
    return shutil.get_terminal_size((usual, 24)).columns if sys.stdout.isatty() else usual
