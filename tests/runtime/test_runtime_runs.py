"""Runs and commands compute by the runtime, record it, keep it when they are resumed, and refuse what is not here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from machines import server

from commands import striate
from striate.bundle import load, prepare, save_trained
from striate.errors import InputError
from striate.models import build
from striate.ops.impl.native import library
from striate.runtime import Precision, Runtime, RuntimeOptions, _choice, choose, current, recorded
from striate.training import (
    Interrupted,
    LossOptions,
    ModelOptions,
    OptimizerOptions,
    Recipe,
    Run,
    Trained,
    fit,
    named_recipe,
    resume,
)
from striate.training import _checkpoint as checkpoint

BUILT = library.instruction_set()
# the second convolution has 64 maps of 8 x 8 in and out: wide enough for the kernels; dropout: random numbers matter
NET: dict[str, Any] = {"blocks": [[1, 64, 2], [1, 64, 1]], "dropout": 0.5}
RECIPE: Recipe = named_recipe("digits").replace(
    model=ModelOptions("convnet", NET),
    loss=LossOptions(),
    optimizer=OptimizerOptions("sgd", lr=0.05),
    epochs=1,
    batch_size=256,
    ema=0.0,
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    saved = checkpoint.latest(Run.open(folder).checkpoints)
    assert saved is not None
    return saved.tensors


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def train(folder: Path, **options: Any) -> Trained:
    return fit(RECIPE, "digits", folder, threads=1, runtime=RuntimeOptions(**options))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """The same recipe in each precision."""
    room = tmp_path_factory.mktemp("runs")
    return {name: train(room / name, precision=name) for name in ("exact", "high", "bf16")}


def test_the_precision_decides_the_numbers_and_is_recorded(runs: dict[str, Trained]) -> None:
    for name, trained in runs.items():
        record = json.loads((trained.run.folder / "run.json").read_text())["runtime"]
        assert record == trained.run.runtime.to_json()
        assert (record["precision"], record["threads"], record["native"]) == (name, 1, BUILT)
        assert record["channels_last"] is True
        assert f"{name} in training" in trained.run.report.read_text()
    exact, high, bf16 = (weights(runs[name].run.folder) for name in ("exact", "high", "bf16"))
    assert all(tensor.dtype != torch.bfloat16 for tensor in bf16.values())
    assert not same(exact, bf16)
    assert same(exact, high) == (BUILT is None)
    assert current() is None


@pytest.mark.parametrize("name", [pytest.param("high", marks=pytest.mark.slow), "bf16"])
def test_resume_is_exact_in_the_recorded_precision(tmp_path: Path, runs: dict[str, Trained], name: str) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        fit(
            RECIPE,
            "digits",
            tmp_path / "run",
            threads=1,
            runtime=RuntimeOptions(precision=name),  # type: ignore[arg-type]
            stop=lambda: next(asked),
        )
    trained = resume(tmp_path / "run")
    assert trained.run.runtime == runs[name].run.runtime
    assert same(weights(tmp_path / "run"), weights(runs[name].run.folder))
    assert trained.evaluation == runs[name].evaluation


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"native": "avx9000"}, r"Striate's kernels for avx9000 were asked for and this machine has .*\(--no-native\)"),
        ({"precision": "half"}, "precision must be one of exact, high, bf16, got 'half'"),
        ({"warp": 9}, "not a description this version understands"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    tmp_path: Path, runs: dict[str, Trained], change: dict[str, Any], sentence: str
) -> None:
    folder = tmp_path / "run"
    Run.open(runs["exact"].run.folder)
    folder.mkdir()
    values = json.loads((runs["exact"].run.folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**values, "runtime": {**values["runtime"], **change}}))
    (folder / "recipe.json").write_text((runs["exact"].run.folder / "recipe.json").read_text())
    with pytest.raises(InputError, match=sentence):
        resume(folder)


def test_bfloat16_with_and_without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    able, unable = server(features=("avx512f", "avx512_bf16")), server(features=("avx2",))
    begun = {here: choose(RuntimeOptions("bf16"), here=here).to_json() for here in (able, unable)}
    monkeypatch.setattr(_choice, "require_possible", lambda runtime: None)  # the kernels are another matter
    for here, other, words in ((able, unable, "has instructions for, and"), (unable, able, "has no instructions for")):
        monkeypatch.setattr(_choice, "machine", lambda here=here: here)
        assert recorded(begun[here]).precision == "bf16"
        with pytest.raises(InputError, match=f"products in bfloat16, which this processor {words}.*; resume it on"):
            recorded(begun[other])


def test_the_finished_model_is_measured_in_float32(runs: dict[str, Trained], tmp_path: Path) -> None:
    """Training in bfloat16 or not, `evaluate` finds what training said, and the bundle says how it was trained."""
    for name in ("exact", "bf16"):
        path = save_trained(runs[name])
        assert load(path).provenance["runtime"]["precision"] == name
        code, out, err = striate("evaluate", path, "digits", "--json", "--threads", 1)
        assert code == 0, err
        found = json.loads(out)
        assert (found.pop("split"), found.pop("unreadable"), found.pop("excluded")) == ("test", 0, 0)
        assert found == json.loads(json.dumps(runs[name].evaluation.to_json()))
    _, other, _ = striate("evaluate", path, "digits", "--json", "--precision", "bf16", "--threads", 1)
    assert json.loads(other)["calibrated"]["nll"] != found["calibrated"]["nll"]
    assert json.loads(other)["accuracy"] == pytest.approx(found["accuracy"], abs=0.02)


def test_predictions_in_every_precision_agree(runs: dict[str, Trained], tmp_path: Path) -> None:
    from PIL import Image

    path = save_trained(runs["high"])
    Image.new("L", (8, 8), 90).save(tmp_path / "a.png")
    found = {}
    for flags in ((), ("--precision", "exact"), ("--precision", "bf16"), ("--no-native", "--keep-memory", 0)):
        code, out, err = striate("predict", path, tmp_path / "a.png", "--json", *flags)
        assert code == 0, err
        found[flags] = json.loads(out)["probability"]
    plain = found["--precision", "exact"]
    assert found[()] == pytest.approx(plain, rel=1e-4)
    assert found["--precision", "bf16"] == pytest.approx(plain, rel=0.1)
    assert found["--precision", "bf16"] != plain
    assert found["--no-native", "--keep-memory", 0] == pytest.approx(plain, rel=1e-5)


@pytest.mark.skipif(BUILT is None, reason="the native extension was not built here: networks compute as they are")
def test_bfloat16_is_computed_by_the_prepared_network(
    runs: dict[str, Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    made: list[str] = []

    def noted(model: torch.nn.Module, precision: Precision = "high") -> torch.nn.Module:
        made.append(precision)
        return prepare(model, precision)

    monkeypatch.setattr("striate.bundle._bundle.prepare", noted)
    path = save_trained(runs["high"])
    Image.new("L", (8, 8), 90).save(tmp_path / "a.png")
    for command in (("predict", path, tmp_path / "a.png"), ("evaluate", path, "digits")):
        assert striate(*command, "--precision", "bf16", "--threads", 1).code == 0
        assert made.pop() == "bf16"
        assert striate(*command, "--precision", "bf16", "--threads", 1, "--no-native").code == 0
        assert made == []


def test_flags_reach_the_run(tmp_path: Path) -> None:
    flags = ("--precision", "exact", "--no-native", "--threads", 2, "--keep-memory", 100)
    small = ("--set", "epochs=1", "--set", "batch_size=512")
    code, _, err = striate("train", "digits", "--out", tmp_path / "run", *flags, *small)
    assert code == 0, err
    runtime = Run.open(tmp_path / "run").runtime
    assert runtime == Runtime("exact", True, 2, None, runtime.linear, runtime.keep_memory, keep_mib=100)
    code, _, err = striate("train", "--resume", tmp_path / "run", "--precision", "high")
    assert code == 2
    for flag in ("--precision", "--threads", "--no-native", "--keep-memory", "--fit-memory"):
        assert flag in err


@pytest.mark.parametrize("command", [("train", "digits"), ("evaluate", "m", "digits"), ("predict", "m", "a.png")])
def test_an_unknown_precision(command: tuple[str, ...]) -> None:
    code, _, err = striate(*command, "--precision", "bf61")
    assert (code, err) == (2, "striate: --precision bf61: no such precision; did you mean 'bf16'?\n")


def test_small_networks_are_trained_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LeNet-5 on a processor that is fast in bfloat16: the rule by the network's products."""
    monkeypatch.setattr(_choice, "machine", lambda: server(native=BUILT))
    trained = fit(named_recipe("digits").replace(epochs=1, batch_size=512), "digits", tmp_path / "run", threads=1)
    assert trained.run.runtime.precision == "high"
    trained = fit(RECIPE, "digits", tmp_path / "other", threads=1)
    assert trained.run.runtime.precision == "bf16"


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    code, out, err = striate("runtime")
    assert (code, err) == (0, "")
    for word in ("processor", "one core", "chosen", "precision", "keep_memory", "threads"):
        assert word in out
    code, out, _ = striate("runtime", "--json")
    told = json.loads(out)
    assert code == 0
    assert set(told) == {"machine", "chosen", "reasons", "warnings"}
    assert Runtime.from_json(told["chosen"]).threads == torch.get_num_threads()
    assert told["warnings"] == []


def test_the_command_warns_of_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    monkeypatch.setattr("striate.runtime._choice._threads", lambda _: 2)
    assert "this machine is busy (load 99.0 on" in striate("runtime").out


def test_the_command_sets_the_environment_of_its_own_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before PyTorch starts, what the user has set stays; in a program that has loaded PyTorch, nothing."""
    program = "import os; from striate.cli._app import _before_torch as f; f(); print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | given
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment
        )
        assert done.stdout.strip() == expected
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    striate("models", "--json")
    assert "OMP_WAIT_POLICY" not in os.environ


def test_auxiliary_classifiers_learn_in_bfloat16() -> None:
    """GoogLeNet's heads give bfloat16 logits; the loss is of float32."""
    from types import SimpleNamespace

    from striate.training._loop import Trainer

    model = build("googlenet", classes=3, channels=1, size=(64, 64)).train()
    run = SimpleNamespace(runtime=Runtime(precision="bf16"))
    trainer: Any = SimpleNamespace(model=model, run=run, device=torch.device("cpu"), task=SimpleNamespace(loss=_loss))
    logits, loss = Trainer.outputs_and_loss(trainer, torch.randn(2, 1, 64, 64), torch.tensor([0, 1]))
    assert logits.dtype == loss.dtype == torch.float32


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    assert logits.dtype == torch.float32
    return torch.nn.functional.cross_entropy(logits, labels)
