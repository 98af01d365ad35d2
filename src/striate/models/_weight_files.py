"""Reading weight files of unknown origin: safetensors, and PyTorch's own without running what is in them."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from striate.errors import InputError
from striate.models._weight_names import NESTED, WRAPPERS

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_SAVE_AGAIN = "save only the tensors: torch.save(model.state_dict(), FILE), or safetensors"


class Weights(NamedTuple):
    """Named tensors from one file, wrappers' prefixes removed."""

    file: str
    tensors: dict[str, Tensor]
    ordered: bool  # in the order in which the layers were registered; safetensors files are sorted by name


def read_weights(source: str | Path | Mapping[str, Tensor] | Weights) -> Weights:
    """Read a safetensors file, a PyTorch file (tensors only) or a mapping of tensors; raises InputError otherwise."""
    if isinstance(source, Weights):
        return source
    if isinstance(source, Mapping):
        return Weights("the mapping", _tensors("the mapping", source), True)
    path = Path(source)
    start = _first_bytes(path)
    if start.startswith((_ZIP, _PICKLE)):
        return Weights(str(path), _tensors(str(path), _read_torch(path, start)), True)
    if start[8:9] == b"{":
        return Weights(str(path), _tensors(str(path), _read_safetensors(path)), False)
    raise InputError(f"{path}: not a file of weights; give a safetensors file or a state dict that torch.save wrote")


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file of weights in it")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a safetensors file or a state dict of PyTorch") from None
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror or error})") from error
    if not start:
        raise InputError(f"{path}: the file is empty; copy or download it again")
    return start


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_safetensors(path.read_bytes())
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a type of number that PyTorch has not
        raise InputError(f"{path}: a damaged or cut safetensors file ({error}); copy or download it again") from error


def _read_torch(path: Path, start: bytes) -> Any:
    if start.startswith(_ZIP):
        _require_stored(path)
    try:
        # weights_only: an unpickler of PyTorch that builds tensors and plain containers and calls nothing else
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        refused = re.search(r"(?:GLOBAL|global|class|[Ff]unction):? `?([A-Za-z_][\w.]*\.[\w.]+)", str(error))
        if refused:
            raise InputError(
                f"{path}: holds more than tensors ({refused[1]}), and reading that could run code; it was not read: "
                f"{_SAVE_AGAIN}"
            ) from error
        if "TorchScript" in str(error):
            raise InputError(f"{path}: a TorchScript program, not weights; {_SAVE_AGAIN}") from error
        raise InputError(
            f"{path}: a damaged or cut file of weights, or not one ({_first_line(error)}); copy or download it again"
        ) from error


def _require_stored(path: Path) -> None:
    """PyTorch stores its tensors uncompressed: what claims to grow when it is unpacked was not written by it."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise InputError(f"{path}: a damaged or cut file of weights ({error}); copy or download it again") from error
    if any(entry.filename == "manifest.json" for entry in entries):
        raise InputError(f"{path}: a bundle; give its tensors: load_weights(model, bundle.load(FILE).state)")
    if not any(entry.filename.endswith("data.pkl") for entry in entries):
        raise InputError(f"{path}: a ZIP file without weights; give a safetensors file or a state dict of PyTorch")
    compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if compressed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise InputError(f"{path}: not written by torch.save (its parts are compressed); it was not read")


def _tensors(file: str, value: Any) -> dict[str, Tensor]:
    """Return the state dict in what a file holds: itself, or under one of the usual keys."""
    for key in NESTED:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
            break
    if not isinstance(value, Mapping):
        raise InputError(f"{file}: holds a {type(value).__name__}, not a state dict; {_SAVE_AGAIN}")
    others = [name for name, tensor in value.items() if not isinstance(name, str) or not isinstance(tensor, Tensor)]
    if others or not value:
        what = f"{others[0]!r} is no tensor" if others else "it is empty"
        raise InputError(f"{file}: not a state dict, names with a tensor each ({what}); {_SAVE_AGAIN}")
    for name, tensor in value.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
            raise InputError(f"{file}: {name} is a {_kind_of(tensor)} tensor; expected plain numbers")
    tensors: dict[str, Tensor] = {name: tensor.detach() for name, tensor in value.items()}
    while prefix := next((w for w in WRAPPERS if all(name.startswith(w) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _kind_of(tensor: Tensor) -> str:
    if tensor.layout != torch.strided:
        return "sparse"
    return "quantized" if tensor.is_quantized else "complex" if tensor.is_complex() else "meta"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
