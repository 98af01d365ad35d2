"""Checkpoints are whole or not there, and damage is found."""

import os
import signal
from pathlib import Path
from unittest import mock

import pytest
import torch

from striate.errors import StriateError
from striate.files import PART
from striate.training import _checkpoint as checkpoint

TENSORS = {
    "model.weight": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
    "model.count": torch.tensor(7),
    "optimizer.0.step": torch.tensor(3.0),
    "model.empty": torch.zeros(0, 4),
    "model.half": torch.ones(3, dtype=torch.bfloat16),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    checkpoint.save_step(tmp_path, 5, TENSORS, {"position": {"epoch": 1}})
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    assert saved.state == {"position": {"epoch": 1}}
    assert saved.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert saved.tensors[name].dtype == value.dtype
        assert torch.equal(saved.tensors[name], value)
    assert saved.part("optimizer").keys() == {"0.step"}


def test_the_newest_two_stay(tmp_path: Path) -> None:
    for step in (1, 2, 10, 11):
        checkpoint.save_step(tmp_path, step, TENSORS, {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-0000000010.safetensors",
        "step-0000000011.safetensors",
    ]


def test_nothing_there(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "absent") is None


@pytest.mark.parametrize("where", [0.0, 0.3, 0.7, 0.999])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path: Path, where: float) -> None:
    for step in (1, 2):
        checkpoint.save_step(tmp_path, step, TENSORS, {"step": step})
    newest = tmp_path / "step-0000000002.safetensors"
    data = bytearray(newest.read_bytes())
    data[int(where * len(data))] ^= 1
    newest.write_bytes(data)
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    assert saved.state == {"step": 1}


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "step-0000000001.safetensors"
    checkpoint.write(path, {"w": torch.arange(4.0)}, {"step": 1})
    whole = path.read_bytes()
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 0x20
        path.write_bytes(data)
        try:
            saved = checkpoint.read(path)
        except StriateError:
            continue
        # a flip that changes no meaning (a space of the header's padding) is the only one that may pass
        assert torch.equal(saved.tensors["w"], torch.arange(4.0)), position
        assert saved.state == {"step": 1}, position


def test_only_damaged_checkpoints_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "step-0000000001.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(StriateError, match="not a readable checkpoint"):
        checkpoint.latest(tmp_path)


def test_a_newer_format_is_said(tmp_path: Path) -> None:
    with mock.patch.object(checkpoint, "FORMAT", 2):
        checkpoint.save_step(tmp_path, 1, TENSORS, {})
    with pytest.raises(StriateError, match="checkpoint format 2, this version reads format 1"):
        checkpoint.latest(tmp_path)


@pytest.mark.parametrize("call", ["write_bytes", "fsync", "replace", "unlink"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_stage_of_writing_leaves_a_whole_checkpoint(tmp_path: Path, call: str, after: bool) -> None:
    """A child process dies by SIGKILL right before or after each call that touches the disk."""
    for step in (1, 2):
        checkpoint.save_step(tmp_path, step, TENSORS, {"step": step})
    child = os.fork()
    if child == 0:
        owner = os if call == "fsync" else Path
        original = getattr(owner, call)

        def dying(*arguments: object, **options: object) -> object:
            if call == "write_bytes" and not after:
                original(arguments[0], arguments[1][: len(arguments[1]) // 2])  # type: ignore[index, arg-type]
            if after:
                original(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        setattr(owner, call, dying)
        checkpoint.save_step(tmp_path, 3, TENSORS, {"step": 3})
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child should have died"
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    done = call == "unlink" or (call == "replace" and after)
    assert saved.state == {"step": 3 if done else 2}
    assert torch.equal(saved.tensors["model.weight"], TENSORS["model.weight"])
    assert not list(tmp_path.glob(f".*{PART}")), "what the dead process left behind is cleared away"
