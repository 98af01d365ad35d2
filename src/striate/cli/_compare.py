"""`striate compare`: what is different between two networks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli import _options as options
from striate.errors import InputError

if TYPE_CHECKING:
    from torch import nn

_HELP = "A network's name (see `striate models`), a bundle, a run folder, or package.module:function of your own."


def compare(
    here: Annotated[str, typer.Argument(metavar="A", help=_HELP, show_default=False)],
    there: Annotated[str, typer.Argument(metavar="B", help="The other one.", show_default=False)],
    size: Annotated[
        str | None, typer.Option(metavar="C,H,W", help="The input of both; default: each network's own.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Say in words how network B differs from network A: by what the layers do, whatever they are called.

    Examples:

    striate compare resnet-50 resnet-50-v1.5

    striate compare googlenet torchvision.models:googlenet --size 3,224,224
    """
    input_size = _input_size(size)
    networks = [_network(name) for name in (here, there)]

    from striate.insight import compare as compared

    result = compared(networks[0], networks[1], input_size)
    if as_json:
        options.print_json({"here": here, "there": there, **result.to_json()})
    else:
        print(result.as_text(here, there))


def _network(name: str) -> "nn.Module":
    """Return the network that a word on the command line means, without numbers where that is possible."""
    if ":" in name and not Path(name).exists():
        return _from_function(name)
    if "/" in name or name.endswith(".striate") or Path(name).exists():
        from striate.bundle import load

        return load(options.bundle_path(Path(name))).model
    from striate.models import card

    card(name)  # an unknown name is told before torch is imported

    import torch

    from striate.models import build_as_published

    with torch.device("meta"):
        return build_as_published(name)


def _from_function(name: str) -> "nn.Module":
    """Import package.module:function, from the working folder too, and return the network that it builds."""
    import sys
    from importlib import import_module

    module_name, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        maker: Any = getattr(import_module(module_name), function)
    except (ImportError, ValueError, AttributeError) as error:
        raise InputError(f"compare: {name} cannot be imported ({error}); give package.module:function") from error
    finally:
        sys.path.pop(0)

    import torch
    from torch import nn

    if isinstance(maker, nn.Module):
        return maker
    try:
        with torch.device("meta"):
            network = maker()
    except Exception as error:  # the user's code fails in any way
        raise InputError(f"compare: {name}() fails without arguments ({type(error).__name__}: {error})") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"compare: {name}() returns a {type(network).__name__}, expected a torch.nn.Module")
    return network


def _input_size(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        size = tuple(int(part) for part in text.split(","))
    except ValueError:
        size = ()
    if not size or min(size) < 1:
        raise InputError(f"compare: --size must be channels, height and width, such as 3,224,224, got {text!r}")
    return size
