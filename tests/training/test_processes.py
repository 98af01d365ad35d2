"""Several processes train as one does: same batches, same sums, same end, for good or ill."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from worlds import in_world, start_world

from commands import striate
from striate.data import DataOptions, ImageData, open_data
from striate.errors import Diverged, InputError, Interrupted, StriateError
from striate.evaluation import predict_logits
from striate.training import (
    Listener,
    LossOptions,
    ModelOptions,
    OptimizerOptions,
    Recipe,
    Run,
    _fit,
    _together,
    fit,
    named_recipe,
    resume,
)
from striate.training import _checkpoint as checkpoint
from striate.training.processes import (
    GradientSum,
    Processes,
    joined,
    logits_together,
    own_rows,
    share_batch_norm,
    share_of,
)
from striate.training.processes import _gradients as gradients

SLOW = pytest.mark.slow
PICTURES = {"train": 301, "val": 41, "test": 50}
LENET = named_recipe("digits").replace(epochs=1, batch_size=150)  # the third step of an epoch has a single picture
NORMED = LENET.replace(
    epochs=2,
    model=ModelOptions("convnet", {"blocks": [[1, 4, 2], [1, 8, 2]], "dropout": 0.0}),
    loss=LossOptions(label_smoothing=0.1),
    optimizer=OptimizerOptions("sgd", lr=0.05, nesterov=True, clip_norm=1.0),
    ema=0.9,
    channels_last=False,  # PyTorch's batch normalisation sums less exactly in that layout, on one process too
)

MIXED = NORMED.set(
    ["micro_batch=40", "mixing.mixup=1", "mixing.cutmix=1", "loss.class_weights=balanced", "epochs=1", "freeze=1"]
)


@pytest.fixture(scope="module", autouse=True)
def digits() -> Iterator[None]:
    """A few digits, read once so that each forked process need not; reports are judged elsewhere."""

    @lru_cache
    def few(where: str, options: DataOptions, seed: int) -> ImageData:
        data = open_data(where, options, seed=seed)
        return replace(data, splits={name: data.splits[name].subset(range(n)) for name, n in PICTURES.items()})

    few("digits", LENET.data, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_together, "open_data", lambda *given, seed, **others: few(*given, seed))
        patch.setattr(_fit, "write_run_report", lambda run, path, **_: path.write_text(run.where))
        yield


def no_errors(results: list[Any]) -> list[Any]:
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    run = Run.open(folder)
    last = checkpoint.latest(run.checkpoints)
    assert last is not None
    return {**last.tensors, **{f"best.{k}": v for k, v in checkpoint.read(run.best).tensors.items()}}


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def farthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest distance of two tensors of a name, relative to the norm of the one."""
    assert a.keys() == b.keys()
    return max(
        float((a[k].double() - b[k].double()).norm() / a[k].double().norm().clamp(min=1e-3))
        for k in a
        if k.startswith(("model.", "average.", "best."))
    )


def train(recipe: Recipe, folder: Path, size: int, stop_at: int = 0, by: int = 0) -> list[Any]:
    """Start or go on in `size` processes; process `by` is asked to stop when it has asked `stop_at` times."""

    def work(processes: Processes) -> int:
        asked = iter(range(1, 10**9))

        def stop() -> bool:
            return next(asked) == stop_at and processes.rank == by

        if (folder / "run.json").is_file():
            return resume(folder, stop=stop).evaluation.correct
        return fit(recipe, "digits", folder, threads=1, stop=stop, error_terms=False).evaluation.correct

    if size == 1:
        return [work(Processes())]
    return in_world(size, work)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of each recipe in one process."""
    room = tmp_path_factory.mktemp("whole")
    recipes = {"lenet": LENET, "normed": NORMED, "mixed": MIXED}
    for name, recipe in recipes.items():
        train(recipe, room / name, 1)
    return {name: room / name for name in recipes}


def test_messages_reach_all_in_order() -> None:
    def work(processes: Processes) -> Any:
        rank = processes.rank
        own = np.full((2 * rank, 3), rank, np.float32)  # the first brings nothing
        sent = {"t": torch.arange(6.0).reshape(2, 3).T, "n": torch.tensor(7), "none": torch.zeros(0, 2)}
        return [
            processes.sums(rank, 2**52 + rank),
            processes.sum_counts(np.array([[rank, 1]])).tolist(),
            processes.in_order(own)[:, 0].tolist(),
            processes.from_first(lambda: {"rank": rank, "nothing": None, "text": "ä" * 1000}),
            {k: v.tolist() for k, v in processes.tensors_from_first(lambda: sent if rank == 0 else {}).items()},
            processes.agree(b"same"),
            processes.agree(bytes([rank])),
        ]

    seen = no_errors(in_world(3, work))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0] == [
        [3.0, 3 * 2.0**52 + 3],
        [[3, 3]],
        [1.0, 1.0, 2.0, 2.0, 2.0, 2.0],
        {"rank": 0, "nothing": None, "text": "ä" * 1000},
        {"t": [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]], "n": 7, "none": []},
        True,
        False,
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_make_up_the_batch(count: int, size: int) -> None:
    shares = [Processes(rank, size).part(np.arange(count)) for rank in range(size)]
    assert np.concatenate(shares).tolist() == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (2, 1), (7, 2), (150, 4)])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_shares_bring_the_partners_along(count: int, parts: int, size: int) -> None:
    """Each picture is one process's own, in the part of the step that it is in for one process."""
    partner = np.roll(np.arange(count), -3)
    shares = [share_of(count, parts, Processes(rank, size), partner) for rank in range(size)]
    for k, part in enumerate(np.array_split(np.arange(count), parts)):
        own = [share.rows[sum(share.parts[:k]) :][: share.parts[k]] for share in shares]
        assert np.concatenate(own).tolist() == part.tolist()
    for share in shares:
        own = share.rows[: sum(share.parts)]
        assert share.partner is not None
        assert share.rows[share.partner].tolist() == partner[own].tolist()
        assert len(set(share.rows.tolist())) == len(share.rows)


@pytest.mark.parametrize("count", [7, 2])  # uneven, and with nothing for one process
def test_batch_norm_is_of_the_whole_batch(count: int) -> None:
    """In float64: outputs, gradients, running statistics and names are those of PyTorch's module on the whole batch."""

    def build() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 3, 3),
            nn.BatchNorm2d(3, momentum=None),
            nn.BatchNorm2d(3, affine=False),
            nn.Flatten(2),
            nn.BatchNorm1d(3, track_running_stats=False),
            nn.Unflatten(2, (1, 2, 2)),
            nn.BatchNorm3d(3),
        ).double()

    x = torch.randn(count, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 3
    slope = torch.randn(count, 3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def work(processes: Processes) -> Any:
        model = build()
        share_batch_norm(model, processes)
        part = processes.part(np.arange(count))
        own = x[part].requires_grad_()
        for _ in range(2):  # the running averages of two batches
            model.zero_grad()
            output = model(own)
            GradientSum(model.parameters(), processes).backward((output * slope[part]).sum())
        evaluated = model.eval()(x[:1])
        state = {k: v.numpy() for k, v in model.state_dict().items()}
        assert own.grad is not None
        gradient = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
        return output.detach().numpy(), own.grad.numpy(), gradient, state, evaluated.detach().numpy()

    model, own = build(), x.clone().requires_grad_()
    for _ in range(2):
        model.zero_grad()
        output = model(own)
        (output * slope).sum().backward()
    seen = no_errors(in_world(3, work))
    close = {"rtol": 1e-9, "atol": 1e-11}
    np.testing.assert_allclose(np.concatenate([one[0] for one in seen]), output.detach(), **close)
    np.testing.assert_allclose(np.concatenate([one[1] for one in seen]), own.grad, **close)
    for one in seen:
        for mine, theirs in zip(one[2], [p.grad for p in model.parameters() if p.grad is not None], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10)
        assert list(one[3]) == list(model.state_dict())
        for name, value in model.state_dict().items():
            np.testing.assert_allclose(one[3][name], value, **close, err_msg=name)
            assert np.array_equal(one[3][name], seen[0][3][name]), "the same bits in all"
    np.testing.assert_allclose(seen[0][4], model.eval()(x[:1]).detach(), **close)


def test_batch_norm_of_one_value_is_refused_in_all_and_alone_it_is_of_the_own_rows() -> None:
    def work(processes: Processes) -> Any:
        norm = nn.BatchNorm1d(2)
        share_batch_norm(norm, processes)
        try:
            norm(torch.ones(1 - processes.rank, 2))
        except ValueError as error:
            message = str(error)
        x = torch.arange(4.0 * (processes.rank + 1)).reshape(-1, 2)
        with processes.alone():
            mean = norm(x).mean(0)
        return message, mean.tolist()

    for message, mean in no_errors(in_world(2, work)):
        assert "Expected more than 1 value per channel" in message
        assert mean == pytest.approx([0.0, 0.0], abs=1e-6)


def test_gradients_are_summed_in_any_number_of_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen parameters, some that the loss does not reach, parts of a batch: the sum is one process's gradient."""
    monkeypatch.setattr(gradients, "BUCKET", 100)

    def build() -> nn.Module:
        torch.manual_seed(0)
        model = nn.ModuleDict({name: nn.Linear(5, 5) for name in ("a", "frozen", "b", "unused")}).double()
        model["frozen"].requires_grad_(False)
        return model

    def loss(model: Any, x: torch.Tensor) -> torch.Tensor:
        return cross_entropy(model["b"](model["frozen"](model["a"](x).tanh())), x.argmax(1), reduction="sum")

    x = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def work(processes: Processes) -> Any:
        model = build()
        total = GradientSum(model.parameters(), processes)
        assert len(total.buckets) > 2
        own = x[processes.part(np.arange(9))]
        total.backward(loss(model, own[:1]), more=True)
        total.backward(loss(model, own[1:]))
        return {name: None if p.grad is None else p.grad.numpy() for name, p in model.named_parameters()}

    model = build()
    loss(model, x).backward()
    seen = no_errors(in_world(3, work))
    for name, p in model.named_parameters():
        for one in seen:
            if p.grad is None:
                assert one[name] is None
            else:
                np.testing.assert_allclose(one[name], p.grad, rtol=1e-12, atol=1e-14)
                assert one[name].tobytes() == seen[0][name].tobytes()


@pytest.mark.parametrize("count", [1, 5])
def test_a_split_is_judged_to_the_last_sample(count: int) -> None:
    """1 = 2 = 3 processes, to the last bit, for shares of any size."""
    data = open_data("digits", NORMED.data, seed=0)
    split = data.splits["val"].subset(np.arange(count))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))
    whole = predict_logits(model, split, data.preprocessing, batch_size=2)

    def work(processes: Processes) -> Any:
        return own_rows(count, 2).tolist(), logits_together(model, split, data.preprocessing, batch_size=2)

    for size in (2, 3):
        seen = no_errors(in_world(size, work))
        assert [row for rows, _ in seen for row in rows] == list(range(count))
        assert all(logits.tobytes() == whole.tobytes() for _, logits in seen)


@pytest.mark.parametrize(
    ("name", "recipe", "size"),
    [
        ("mixed", MIXED, 3),
        ("lenet", LENET, 2),
        pytest.param("mixed", MIXED, 2, marks=SLOW),
        pytest.param("lenet", LENET, 3, marks=SLOW),
    ],
)
def test_training_is_that_of_one_process(
    tmp_path: Path, whole: dict[str, Path], name: str, recipe: Recipe, size: int
) -> None:
    """To rounding: weights, epochs, end. (That all processes have the same bits is checked by the training itself.)"""
    assert len(set(no_errors(train(recipe, tmp_path / "run", size)))) == 1
    assert farthest(tensors(tmp_path / "run"), tensors(whole[name])) < 1e-5
    ours, theirs = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "run", whole[name])
    )
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for key in ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert mine[key] == pytest.approx(other[key], rel=1e-4), key
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["total"] == 50
    assert len((tmp_path / "run" / "tests.jsonl").read_text().splitlines()) == 1
    left = {p.name for p in (tmp_path / "run").iterdir()}
    assert left == {p.name for p in whole[name].iterdir()} - {"error_terms.jsonl"}


@pytest.mark.parametrize("sizes", [(2, 2), (1, 2), pytest.param((3, 1), marks=SLOW), pytest.param((3, 3), marks=SLOW)])
def test_a_stopped_run_goes_on_in_any_number_of_processes(
    tmp_path: Path, whole: dict[str, Path], sizes: tuple[int, int]
) -> None:
    """One of them is asked to stop, all stop; with the same number the end has the same bits."""
    before, after = sizes
    results = train_interrupted(NORMED, tmp_path / "run", before)
    assert [type(one) for one in results] == [Interrupted] * before
    assert sum(not one.told for one in results) == 1
    assert json.loads((tmp_path / "run" / "stopped.json").read_text())["state"] == "interrupted"
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-0000000003.safetensors"]
    no_errors(train(NORMED, tmp_path / "run", after))
    if before == after:
        no_errors(train(NORMED, tmp_path / "other", before))
        assert same_bits(tensors(tmp_path / "run"), tensors(tmp_path / "other"))
    assert farthest(tensors(tmp_path / "run"), tensors(whole["normed"])) < 1e-5


def train_interrupted(recipe: Recipe, folder: Path, size: int) -> list[Any]:
    if size > 1:
        return train(recipe, folder, size, stop_at=3, by=size - 1)
    with pytest.raises(Interrupted) as caught:
        train(recipe, folder, 1, stop_at=3)
    return [caught.value]


def test_another_number_of_processes_is_said(tmp_path: Path, whole: dict[str, Path]) -> None:
    folder = shutil.copytree(whole["lenet"], tmp_path / "run")
    assert json.loads((folder / "environment.json").read_text())["processes"] == "1"

    class Notes(Listener):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    def work(processes: Processes) -> list[str]:
        listener = Notes()
        resume(folder, listener=listener, error_terms=False)
        return listener.notes

    first, second = no_errors(in_world(2, work))
    assert first[0] == "this run began in 1 process and goes on in 2: the same training up to rounding"
    assert second == []


def test_a_group_that_is_there_is_used() -> None:
    def work() -> list[float]:
        torch.distributed.init_process_group("gloo")
        with joined() as processes, joined() as again:
            assert again is processes
            total = processes.sums(processes.rank, processes.size)
        assert torch.distributed.is_initialized()
        torch.distributed.destroy_process_group()
        return total

    assert start_world(2, work) == [[1.0, 4.0]] * 2


def test_dropout_differs_between_processes_and_steps(tmp_path: Path) -> None:
    """Seeded by (seed, step, process); the first process has the seeds of a single one."""

    def seeds_of(processes: Processes) -> list[int]:
        seeds: list[int] = []

        def stop() -> bool:
            seeds.append(torch.initial_seed())
            return len(seeds) == 3

        folder = tmp_path / f"run-{processes.size}"
        with pytest.raises(Interrupted):
            fit(NORMED, "digits", folder, threads=1, stop=stop, error_terms=False)
        return seeds

    alone = seeds_of(Processes())
    first, second = no_errors(in_world(2, seeds_of))
    assert first == alone
    assert len({*first, *second}) == 6


def failing(what: Callable[[], None], folder: Path, *, size: int = 3) -> list[Any]:
    """Train in a world whose last process meets with `what` in its second step."""

    def work(processes: Processes) -> Any:
        asked = iter(range(1, 10**9))

        def stop() -> bool:
            if next(asked) == 2 and processes.rank == size - 1:
                what()
            return False

        return fit(LENET, "digits", folder, threads=1, stop=stop, error_terms=False)

    return in_world(size, work)


@pytest.mark.parametrize("kind", [InputError, *(pytest.param(k, marks=SLOW) for k in (StriateError, Diverged))])
def test_what_ends_one_process_ends_all_and_is_said_once(tmp_path: Path, kind: type[StriateError]) -> None:
    def fail() -> None:
        raise kind("cat/7.jpg: this picture cannot be read")

    results = failing(fail, tmp_path / "run")
    assert [type(one) for one in results] == [kind] * 3
    assert {str(one) for one in results} == {"cat/7.jpg: this picture cannot be read"}
    assert [one.told for one in results] == [True, True, False]
    stopped = json.loads((tmp_path / "run" / "stopped.json").read_text())
    assert stopped["reason"] == "cat/7.jpg: this picture cannot be read"
    assert stopped["state"] == ("diverged" if kind is Diverged else "failed")


def test_a_fault_in_one_process_ends_the_others_with_its_word(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyError("a fault of ours")

    results = failing(fail, tmp_path / "run", size=2)
    assert [type(one) for one in results] == [StriateError, KeyError]
    assert "a fault of ours" in str(results[0])
    assert results[0].told


def test_a_killed_process_ends_the_others_in_words(tmp_path: Path) -> None:
    results = failing(lambda: os.kill(os.getpid(), signal.SIGKILL), tmp_path / "run")
    assert results[2] is None
    for one in results[:2]:
        assert type(one) is StriateError
        assert "another process of this training ended without a word (it was killed, or its machine" in str(one)
    assert sum(not one.told for one in results[:2]) == 1
    assert Run.open(tmp_path / "run").state() == "failed"


def test_a_failing_first_process_ends_all(tmp_path: Path) -> None:
    """It fails before the others could, while they wait for it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    results = train(LENET, tmp_path / "run", 2)
    assert [type(one) for one in results] == [InputError, InputError]
    assert [one.told for one in results] == [False, True]
    assert "is not empty (it holds 'thesis.txt')" in str(results[1])
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_other_data_in_a_process_is_refused(tmp_path: Path) -> None:
    def work(processes: Processes) -> Any:
        options = LENET.data if processes.rank == 0 else LENET.set(["data.val_fraction=0.2"]).data
        return fit(LENET.replace(data=options), "digits", tmp_path / "run", threads=1)

    results = in_world(2, work)
    assert all(type(one) is InputError for one in results)
    assert "digits: the processes do not see the same data" in str(results[0])
    assert not (tmp_path / "run").exists()


def test_weights_that_differ_are_found() -> None:
    def work(processes: Processes) -> None:
        processes.require_same({"w": torch.ones(3)})
        processes.require_same({"w": torch.ones(3) * (1 + processes.rank * 2.0**-23)})

    results = in_world(2, work)
    assert all(type(one) is StriateError and "do not have the same weights any more" in str(one) for one in results)


def test_one_process_of_each_machine_goes_first(tmp_path: Path) -> None:
    def work(processes: Processes) -> bool:
        there = (tmp_path / "file").exists()
        with processes.one_by_one(True):
            there = (tmp_path / "file").exists()
            (tmp_path / "file").touch()
        return there

    assert no_errors(in_world(3, work)) == [False, True, True]


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_an_environment_without_a_meeting_place(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(InputError, match=rf"as torchrun sets them; {missing} is missing: start them with torchrun"):
        joined().__enter__()


def test_a_gpu_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Processes(3, 4).device("cuda") == "cuda:1"
    assert chosen == [1]
    assert Processes(3, 4).device("cpu") == "cpu"
    assert Processes().device("cuda:1") == "cuda:1", "a single process takes the one it was given"
    with pytest.raises(InputError, match=r"--device cuda:0: each of several processes takes a GPU of its own"):
        Processes(3, 4).device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match=r"this machine has 2 and is to run more .*torchrun --nproc-per-node 2"):
        Processes(3, 4).device("cuda")


def test_the_command_speaks_with_one_voice(tmp_path: Path) -> None:
    settings = ["--set", "epochs=1", "--set", "batch_size=150", "--no-error-terms"]
    folder = tmp_path / "run"
    first, second = start_world(2, lambda: striate("train", "digits", *settings, "--out", folder))
    assert (first.code, second.code) == (0, 0), first.err
    assert first.out.splitlines()[-1].startswith("test accuracy ")
    assert (second.out, second.err) == ("", "")
    assert Run.open(folder).finished
    assert striate("verify", folder / "model.striate").code == 0

    results = start_world(2, lambda: striate("train", "digits", *settings, "--out", folder))
    assert [one.code for one in results] == [2, 2]
    assert "".join(one.err for one in results).count("already holds a run") == 1

    results = start_world(2, lambda: striate("train", "digits", "--oot", folder))
    assert [one.code for one in results] == [2, 2]
    assert "".join(one.err for one in results).count("No such option: --oot") == 1


def test_a_run_that_is_there_is_continued_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a restarted job needs: the same command starts the run and goes on with it."""
    command = ["train", "digits", "--set", "epochs=1", "--set", "batch_size=150", "--no-error-terms", "--continue"]
    missing = striate(*command)
    assert (missing.code, "--continue needs to know which run: give its folder with --out" in missing.err) == (2, True)
    first = striate(*command, "--out", tmp_path / "run")
    assert first.code == 0, first.err
    for path in (tmp_path / "run" / "model.striate", tmp_path / "run" / "evaluation.json"):
        path.unlink()
    again = striate(*command, "--out", tmp_path / "run")
    assert again.code == 0, again.err
    assert "continuing at epoch 2, step 4" in again.err
    assert again.out == first.out
    other = striate(*command, "--out", tmp_path / "run", "--set", "seed=5")
    assert (other.code, "keeps its recipe, but this one changes seed: 0 -> 5" in other.err) == (2, True)
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    unsafe = striate("train", "digits", "--out", tmp_path / "other")
    assert unsafe.code == 2
    assert "torchrun --max-restarts starts this command again when a process fails: give --out RUN" in unsafe.err
