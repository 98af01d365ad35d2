"""Whatever a user gets wrong: one clear sentence, exit code 2 (bad input) or 1 (failed), no traceback, nothing lost."""

import contextlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import Outcome, striate
from pictures import write_idx, write_photos
from striate.training import _checkpoint as checkpoint


def refused(outcome: Outcome, *words: str, code: int = 2) -> str:
    """Check that an outcome is one sentence with these words, and return it."""
    assert outcome.code == code, outcome
    lines = outcome.err.strip().splitlines()
    sentence = lines[-1]
    assert sentence.startswith("striate: "), outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in sentence, sentence
    return sentence


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of twelve small pictures each."""
    write_photos(tmp_path / "data", per_class=12)
    return tmp_path / "data"


def train(folder: Path | str, *more: object) -> Outcome:
    out = Path(folder).parent / "run"
    small = ("--set", "epochs=1", "--set", "data.size=16,16", "--set", "model.options.blocks=[[1,4,1]]")
    return striate("train", folder, "--out", out, "--threads", 1, *small, *more)


def test_a_good_folder_trains(folder: Path) -> None:
    """The refusals below are not because of the folder."""
    outcome = train(folder)
    assert outcome.code == 0, outcome.err


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    refused(train(tmp_path / "data"), str(tmp_path / "data"))
    assert not (tmp_path / "run").exists()


def test_one_class_only(folder: Path) -> None:
    shutil.rmtree(folder / "light")
    refused(train(folder), "dark")


def test_a_text_file_named_jpg(folder: Path) -> None:
    (folder / "dark" / "letter.jpg").write_text("Dear Sir or Madam")
    refused(train(folder), "dark/letter.jpg", "data.unreadable=skip")
    assert not (folder.parent / "run").exists()
    outcome = train(folder, "--set", "data.unreadable=skip")
    assert outcome.code == 0, outcome.err
    assert "1 unreadable" in outcome.err
    assert "letter.jpg" in (folder.parent / "run" / "report.html").read_text()


def test_a_truncated_jpeg(folder: Path) -> None:
    Image.effect_noise((200, 200), 80).save(folder / "dark" / "noise.jpg")
    whole = (folder / "dark" / "noise.jpg").read_bytes()
    (folder / "dark" / "noise.jpg").write_bytes(whole[: len(whole) // 2])
    refused(train(folder), "dark/noise.jpg", "truncated")


def huge_png(path: Path, side: int) -> None:
    """A valid PNG of side x side black pixels in a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    data = b"".join(packer.compress(row * 1000) for _ in range(side // 1000)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_a_picture_of_60000_by_60000(folder: Path, bundle: Path) -> None:
    huge_png(folder / "dark" / "bomb.png", 60_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(train(folder), "dark/bomb.png", "60000")
    outcome = striate("predict", bundle, folder / "dark" / "bomb.png")
    assert outcome.code == 1
    assert "60000" in outcome.err
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000, "refused before it is decoded"


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read everything: give that up for a while."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_without_read_permission(folder: Path) -> None:
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.getuid() and "pytest" in str(place):
            place.chmod(0o755)
    (folder / "dark").chmod(0)
    try:
        with unprivileged():
            outcome = train(folder, "--out", "/nonexistent/run")
    finally:
        (folder / "dark").chmod(0o755)
    refused(outcome, "dark", "read")


def test_an_unwritable_place_for_the_run(folder: Path) -> None:
    for place in (folder.parent, *folder.parent.parents):
        if place.stat().st_uid == os.getuid() and "pytest" in str(place):
            place.chmod(0o755)
    with unprivileged():
        outcome = train(folder)
    refused(outcome, "cannot be written", "choose", code=1)


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A tiny MNIST: 60 training and 20 test pictures in files of the official names."""
    root = tmp_path / "mnist"
    root.mkdir()
    for name, count in (("train", 60), ("t10k", 20)):
        write_idx(root / f"{name}-images-idx3-ubyte.gz", np.arange(count * 784).reshape(count, 28, 28) % 251)
        write_idx(root / f"{name}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    return root


def train_mnist(root: Path) -> Outcome:
    return striate(
        "train", "mnist", "--data-root", root, "--out", root.parent / "run", "--set", "epochs=1", "--threads", 1
    )


def test_a_good_mnist_trains(mnist: Path) -> None:
    outcome = train_mnist(mnist)
    assert outcome.code == 0, outcome.err


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        (IMAGES, lambda p: write_idx(p, np.zeros((60, 28, 28)), magic=0x0801), ["magic"]),
        (IMAGES, lambda p: write_idx(p, np.zeros((60, 28, 28)), cut=100), ["47,040", "46,940"]),
        (LABELS, lambda p: write_idx(p, np.zeros(59)), ["59", "60"]),
        (LABELS, lambda p: write_idx(p, np.full(60, 10)), ["10"]),
        (IMAGES, lambda p: p.write_bytes(b"not gzip at all"), []),
        (IMAGES, lambda p: p.write_bytes(p.read_bytes()[:200]), []),
        (LABELS, lambda p: p.unlink(), []),
    ],
    ids=["magic", "short", "count", "label", "no gzip", "cut gzip", "missing"],
)
def test_a_bad_idx_file(mnist: Path, name: str, damage: Callable[[Path], None], words: list[str]) -> None:
    damage(mnist / name)
    refused(train_mnist(mnist), name.removesuffix(".gz"), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], ["name a data set or a folder", "striate train digits"]),
        (["train", "digitz"], ["digitz", "did you mean 'digits'"]),
        (["train", "no/such/folder"], ["no such folder"]),
        (["train", "digits", "--model", "lenet6"], ["unknown model 'lenet6'", "did you mean 'lenet5'"]),
        (["train", "digits", "--recipe", "digit"], ["unknown recipe 'digit'", "did you mean 'digits'"]),
        (["train", "digits", "--set", "optimizer.learning_rate=1"], ["no such setting"]),
        (["train", "digits", "--set", "epoch=1"], ["did you mean 'epochs'"]),
        (["train", "digits", "--set", "epochs=x"], ["expected a whole number"]),
        (["train", "digits", "--set", "model.options.depth=3"], ["model 'lenet5' has no option 'depth'"]),
        (["train", "--resume", "no/such/run"], ["no such run folder"]),
        (["train", "--resume", "x", "--out", "y"], ["leave out --out"]),
        (["train", "--resume", "x", "--threads", "2"], ["leave out", "--threads"]),
        (["verify", "no/such/file"], ["no/such/file"]),
        (["verify", "."], ["."]),
        (["predict", "no/such/file", "x.png"], ["no/such/file"]),
        (["evaluate", "no/such/file", "digits"], ["no/such/file"]),
    ],
)
def test_wrong_words(arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(striate(*arguments), *words)
    assert list(tmp_path.iterdir()) == [], "nothing is written"


@pytest.mark.parametrize("arguments", [["trian"], ["train", "digits", "--sed", "1"], ["train", "--seed", "x"]])
def test_wrong_usage(arguments: list[str]) -> None:
    outcome = striate(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def test_resuming_with_another_recipe(trained: tuple[Path, Outcome]) -> None:
    run = trained[0]
    refused(striate("train", "--resume", run, "--set", "epochs=30"), "epochs: 3 -> 30", "start a new run")
    refused(striate("train", "--resume", run, "--seed", 5), "seed: 0 -> 5")
    refused(striate("train", "--resume", run, "--model", "lenet5"), "model.name: 'convnet' -> 'lenet5'")


def test_validation_with_a_class_that_training_lacks(folder: Path) -> None:
    (folder / "train").mkdir()
    for name in ("dark", "light"):
        (folder / name).rename(folder / "train" / name)
    shutil.copytree(folder / "train" / "dark", folder / "val" / "dark")
    shutil.copytree(folder / "train" / "light", folder / "val" / "bright")
    refused(train(folder), "bright", "val")


def test_evaluating_folders_that_disagree_with_the_model(folder: Path, bundle: Path) -> None:
    refused(striate("evaluate", bundle, folder), "dark")


def test_predicting_nothing(bundle: Path, tmp_path: Path) -> None:
    refused(striate("predict", bundle, tmp_path), str(tmp_path))
    refused(striate("predict", bundle, f"{tmp_path}/*.png"), "*.png")
    outcome = striate("predict", bundle, tmp_path / "absent.png")
    assert outcome.code == 1
    assert "absent.png" in outcome.err


def test_a_bundle_that_was_damaged(bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.striate").write_bytes(data)
    for command in (["verify"], ["predict"], ["evaluate"]):
        more = {"predict": ["x.png"], "evaluate": ["digits"]}.get(command[0], [])
        refused(striate(*command, tmp_path / "bad.striate", *more), "bad.striate")


def test_a_bundle_from_another_format_version(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from striate.bundle import _archive

    def write(version: int) -> None:
        parts = _archive.read_archive(bundle, frozenset(_bundle_parts()))
        with monkeypatch.context() as patch:
            patch.setattr(_archive, "VERSION", version)
            _archive.write_archive(tmp_path / "new.striate", parts)

    write(_archive.VERSION)
    assert striate("verify", tmp_path / "new.striate").code == 0
    write(_archive.VERSION + 1)
    refused(striate("verify", tmp_path / "new.striate"), "newer")


def _bundle_parts() -> set[str]:
    from striate.bundle import _bundle

    return set(_bundle.PARTS)


def test_a_run_without_its_bundle_says_how_to_get_it(trained: tuple[Path, Outcome], tmp_path: Path) -> None:
    run = shutil.copytree(trained[0], tmp_path / "run")
    (run / "model.striate").unlink()
    refused(striate("predict", run, "x.png"), f"striate train --resume {run}")
    assert striate("train", "--resume", run).code == 0
    assert striate("verify", run / "model.striate").code == 0


def in_child(work: Callable[[], Outcome]) -> Outcome:
    """Do the work in a forked process, whose limits and mounts are its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return Outcome(*json.loads(text))


def test_a_file_size_limit_during_a_checkpoint(tmp_path: Path) -> None:
    """The limit hits in the middle of writing: the run stops with a sentence and resumes when there is room."""
    run = tmp_path / "run"
    arguments = (
        "train",
        "digits",
        "--out",
        run,
        "--threads",
        1,
        "--checkpoint-every",
        0,
        "--set",
        "epochs=1",
        "--set",
        "batch_size=256",
    )

    def limited() -> Outcome:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        return striate(*arguments)

    refused(in_child(limited), "checkpoints", "larger than a file may be here", code=1)
    assert checkpoint.latest(run / "checkpoints") is None
    assert not list((run / "checkpoints").glob(".*"))
    assert striate("train", "--resume", run).code == 0


def test_a_disk_that_fills_up_during_a_checkpoint(tmp_path: Path) -> None:
    """A real small disk: the checkpoint before stays whole, and the run goes on when there is room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        run = disk / "run"
        arguments = ("--threads", 1, "--checkpoint-every", 0, "--set", "epochs=1", "--set", "batch_size=256")
        (disk / "ballast").write_bytes(bytes(600_000))
        outcome = striate("train", "digits", "--out", run, *arguments)
        refused(outcome, "the run needs up to", "MiB left; free some space", code=1)
        assert not run.exists(), "said before, not after"
        outcome = striate("train", "digits", "--out", run, "--no-forecast", *arguments)
        refused(outcome, "no space left", "free some space", code=1)
        saved = checkpoint.latest(run / "checkpoints")
        assert saved is not None
        assert saved.state["position"]["step"] >= 1
        (disk / "ballast").unlink()
        for old in sorted((run / "checkpoints").glob("step-*"))[:-1]:
            old.unlink()
        shutil.copytree(run, tmp_path / "run")
        assert striate("train", "--resume", tmp_path / "run").code == 0
        whole = striate("train", "digits", "--out", tmp_path / "whole", *arguments)
        assert whole.code == 0
        ends = [checkpoint.latest(tmp_path / name / "checkpoints") for name in ("run", "whole")]
        assert ends[0] is not None
        assert ends[1] is not None
        assert all(np.array_equal(ends[0].tensors[k].numpy(), v.numpy()) for k, v in ends[1].tensors.items())
    finally:
        subprocess.run(["umount", "--lazy", disk], check=False)


def test_evaluating_on_the_training_folder_counts_only_what_was_set_aside(folder: Path) -> None:
    """The trap of optimistic figures: the folder that a model was trained on is not its test set."""
    assert train(folder).code == 0
    run = folder.parent / "run"
    counted = json.loads(striate("evaluate", run, folder, "--json").out)
    assert counted["total"] == json.loads((run / "evaluation.json").read_text())["total"] < 24
    shutil.copytree(folder, folder.parent / "other")
    Image.new("RGB", (20, 24), (5, 5, 5)).save(folder.parent / "other" / "dark" / "new.png")
    assert json.loads(striate("evaluate", run, folder.parent / "other", "--json").out)["total"] == 25


def test_evaluating_past_an_unreadable_file(folder: Path) -> None:
    assert train(folder).code == 0
    run = folder.parent / "run"
    shutil.copytree(folder, folder.parent / "more")
    (folder.parent / "more" / "dark" / "bad.png").write_bytes(b"no picture")
    refused(striate("evaluate", run, folder.parent / "more"), "dark/bad.png", "--skip-unreadable")
    outcome = striate("evaluate", run, folder.parent / "more", "--skip-unreadable", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["unreadable"] == 1
    assert "bad.png" in outcome.err
