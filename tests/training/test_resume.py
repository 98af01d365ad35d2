"""Exact resume of everything that a recipe can ask for: interrupted in the middle of epochs, equal to the last bit."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_checks import needs_gpu
from pictures import write_photos
from striate.data import _threads, open_data
from striate.models import build
from striate.runtime import RuntimeOptions
from striate.training import (
    InitialWeights,
    Interrupted,
    LossOptions,
    ModelOptions,
    OptimizerOptions,
    Recipe,
    Run,
    _together,
    fit,
    named_recipe,
    resume,
)
from striate.training import _checkpoint as checkpoint

# 26 pictures to train on: six batches an epoch, the last of one; dropout and batch normalisation, so that random
# numbers and buffers matter
NET = {"blocks": [[1, 4, 2], [1, 6, 1]], "dropout": 0.3, "norm": "batch"}
PLAIN: Recipe = named_recipe("digits-convnet").replace(
    model=ModelOptions("convnet", NET),
    loss=LossOptions(),
    optimizer=OptimizerOptions(lr=0.05),
    augmentation=named_recipe("digits-convnet").augmentation.__class__(),
    batch_size=5,
    epochs=3,
    ema=0.0,
)
PLAIN = PLAIN.set(["data.channels=3", "data.size=12,16", "data.border=0", "data.test_fraction=0.25"])

FEATURES: dict[str, list[str]] = {
    "mixup": ["mixing.mixup=0.4"],
    "cutmix": ["mixing.cutmix=1"],
    "average": ["ema=0.9"],
    "micro-batches": ["micro_batch=2"],
    "class weights": ["loss.class_weights=balanced"],
    "balanced sampling": ["sampling=balanced"],
    "freezing": ["freeze=blocks.block1"],
    "layer decay": ["optimizer.layer_decay=0.5"],
    "bf16": [],
    "augmentation": ["augmentation.rotate=20", "augmentation.shift=0.1", "augmentation.brightness=0.2"],
    "initial weights": [],
    "everything": [
        *("mixing.mixup=0.4", "mixing.cutmix=1", "ema=0.9", "micro_batch=2", "loss.class_weights=root"),
        *("sampling=balanced", "freeze=blocks.block1", "optimizer.layer_decay=0.5", "optimizer.name=adamw"),
        *("augmentation.rotate=20", "augmentation.flip=0.5", "optimizer.clip_norm=1", "loss.label_smoothing=0.1"),
    ],
}
END = 10  # the fourth step of the second epoch


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 dark pictures, 24 light ones."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_photos(folder, per_class=24)
    for k in range(4):
        (folder / "dark" / f"{k}.png").unlink()
    return folder


@pytest.fixture(scope="module")
def plain(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return begun(photos, tmp_path_factory.mktemp("plain") / "run", "plain", END)


def until(step: int, begun_at: int = 0) -> Any:
    asked = iter(range(begun_at + 1, 10**6))
    return lambda: next(asked) >= step


def state(folder: Path) -> dict[str, torch.Tensor]:
    saved = checkpoint.latest(Run.open(folder).checkpoints)
    assert saved is not None
    position = {k: v for k, v in saved.state["position"].items() if k not in {"seconds", "elapsed", "history"}}
    assert saved.state["position"]["step"] == END
    text = json.dumps(position).encode()
    return {**saved.tensors, "position": torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def begin(photos: Path, folder: Path, feature: str, end: int, device: str = "cpu") -> None:
    """Train up to a step, which writes a checkpoint."""
    recipe = PLAIN.set(FEATURES.get(feature, []))
    precision = "bf16" if feature in {"bf16", "everything"} else "high"
    weights = None
    if feature in {"initial weights", "everything"}:
        torch.manual_seed(5)
        other = build("convnet", channels=3, size=(12, 16), classes=7, **NET).state_dict()
        torch.save(other, folder.parent / "other.pt")
        weights = InitialWeights.of_file(folder.parent / "other.pt")
        (folder.parent / "other.pt").unlink()  # nothing of it is needed any more
    with pytest.raises(Interrupted):
        fit(
            recipe,
            str(photos),
            folder,
            device=device,
            runtime=RuntimeOptions(precision=precision, threads=1),  # type: ignore[arg-type]
            stop=until(end),
            error_terms=False,
            weights=weights,
        )


def begun(photos: Path, folder: Path, feature: str, end: int, device: str = "cpu") -> dict[str, torch.Tensor]:
    begin(photos, folder, feature, end, device)
    return state(folder)


@pytest.mark.parametrize("feature", FEATURES)
def test_resume_is_exact(photos: Path, plain: dict[str, torch.Tensor], tmp_path: Path, feature: str) -> None:
    """Stopped in the middle of the first epoch, at its last step and in the middle of the second; or there only."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = begun(photos, tmp_path / "a" / "run", feature, END)
    assert not same(whole, plain), "the feature does something"
    begin(photos, tmp_path / "b" / "run", feature, 3)
    for done, end in ((3, 6), (6, END)):
        torch.rand(3)  # the caller's generator is no part of it
        with pytest.raises(Interrupted):
            resume(tmp_path / "b" / "run", stop=until(end, done), error_terms=False)
    assert same(state(tmp_path / "b" / "run"), whole)


@needs_gpu
@pytest.mark.parametrize("feature", FEATURES)
def test_on_a_gpu_resuming_continues_the_same_training(photos: Path, tmp_path: Path, feature: str) -> None:
    """The same weights but for rounding; to the last bit is more than PyTorch's kernels promise there."""
    for part in ("whole", "parts"):
        (tmp_path / part).mkdir()
    whole = begun(photos, tmp_path / "whole" / "run", feature, END, "cuda")
    begin(photos, tmp_path / "parts" / "run", feature, 3, "cuda")
    for done, end in ((3, 6), (6, END)):
        torch.rand(3, device="cuda")
        with pytest.raises(Interrupted):
            resume(tmp_path / "parts" / "run", stop=until(end, done), error_terms=False)
    parts = state(tmp_path / "parts" / "run")
    print(feature, "to the last bit" if same(whole, parts) else "but for rounding")
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        if value.is_floating_point():
            torch.testing.assert_close(parts[key], value, rtol=1e-3, atol=1e-4, msg=key)


def test_batches_are_a_function_of_seed_and_epoch(photos: Path, plain: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """Another seed mixes and orders otherwise: the comparison above is not of what is always equal."""
    recipe = PLAIN.set(["seed=1"])
    with pytest.raises(Interrupted):
        fit(recipe, str(photos), tmp_path / "run", threads=1, stop=until(END), error_terms=False)
    assert not same(state(tmp_path / "run"), plain)


@pytest.mark.parametrize("threads", [1, 5])
def test_decoding_threads_change_nothing(
    photos: Path, plain: dict[str, torch.Tensor], tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that do not fit into memory are decoded again and again, in any number of threads."""
    asked: list[int] = []

    def count() -> int:
        asked.append(threads)
        return threads

    monkeypatch.setattr(_threads, "default_threads", count)
    monkeypatch.setattr(_together, "open_data", partial(open_data, memory_limit=0))
    assert same(begun(photos, tmp_path / "run", "plain", END), plain)
    assert len(asked) >= END


@pytest.mark.slow
def test_the_recorded_threads_are_used_again_whatever_the_environment_says(photos: Path, tmp_path: Path) -> None:
    """Two threads split sums otherwise than one; a run keeps its number in a process that is told another."""
    recipe = PLAIN.set(["model.options.blocks=[[1, 32, 1], [1, 64, 1]]", "batch_size=20", "epochs=8"])
    for name, at, threads in (("whole", END, 2), ("parts", 3, 2), ("one", END, 1)):
        with pytest.raises(Interrupted):
            fit(recipe, str(photos), tmp_path / name, threads=threads, stop=until(at), error_terms=False)
    program = (
        "import sys, torch; from pathlib import Path; from striate.training import resume, Interrupted\n"
        "assert torch.get_num_threads() == 1\n"
        "asked = iter(range(4, 99))\n"
        "try: resume(Path(sys.argv[1]), stop=lambda: next(asked) >= 10, error_terms=False)\n"
        "except Interrupted: sys.exit(0)\n"
        "sys.exit(1)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "parts")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    whole, parts, one = (state(tmp_path / name) for name in ("whole", "parts", "one"))
    assert same(whole, parts)
    assert not same(whole, one), "the number of threads matters here"
