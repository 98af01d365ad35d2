"""Checkpoints: one safetensors file that holds all a run goes on from, written atomically, the one before kept."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, uint8

from striate.errors import StriateError
from striate.files import PART, replacing

FORMAT = 1
KEPT = 2  # how many checkpoints stay on disk


class Checkpoint(NamedTuple):
    """The tensors of a run by name and the rest of its state as JSON values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix.`, without it."""
        return {key[len(prefix) + 1 :]: value for key, value in self.tensors.items() if key.startswith(prefix + ".")}


def write(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write one checkpoint file. Raises StriateError if the disk is full."""
    with replacing(path) as temporary:
        temporary.write_bytes(packed(tensors, state))


def packed(tensors: dict[str, Tensor], state: dict[str, Any]) -> bytes:
    """Return the content of a checkpoint file; a SHA-256 of tensors and state goes along."""
    flat = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(state, allow_nan=False)
    return save(flat, metadata={"format": str(FORMAT), "state": text, "sha256": _digest(flat, text)})


def read(path: Path) -> Checkpoint:
    """Read and check one checkpoint file; raises StriateError when it is damaged or of another format."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise StriateError(f"{path}: not a readable checkpoint ({error})") from error
    if metadata.get("format") != str(FORMAT):
        raise StriateError(f"{path}: checkpoint format {metadata.get('format')}, this version reads format {FORMAT}")
    if metadata.get("sha256") != _digest(tensors, metadata.get("state", "")):
        raise StriateError(f"{path}: the checkpoint's content does not match its checksum")
    return Checkpoint(tensors, json.loads(metadata["state"]))


def save_step(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write the checkpoint of a step and then drop all but the newest two."""
    write(folder / f"step-{step:010d}.safetensors", tensors, state)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def latest(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, None if there never was one; raises StriateError if all are damaged.

    Temporary files that a killed process left behind are removed.
    """
    if not folder.is_dir():
        return None
    for leftover in folder.glob(f".*{PART}"):
        leftover.unlink(missing_ok=True)
    problem: StriateError | None = None
    for path in _newest_first(folder):
        try:
            return read(path)
        except StriateError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(dtype=uint8).numpy().tobytes())
    return digest.hexdigest()
