"""The machine is described truly, and measured once."""

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from striate.runtime import Rates, _machine, machine


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, nothing remembered before nor after."""
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    _machine._rates.cache_clear()
    yield tmp_path / "striate"
    _machine._rates.cache_clear()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the measurements instead of making them."""
    times: list[int] = []

    def measure() -> Rates:
        times.append(1)
        return Rates(float(len(times)), 2.0, 3.0)

    monkeypatch.setattr(_machine, "measure", measure)
    return times


def test_it_is_this_machine() -> None:
    here = machine()
    assert here.torch == torch.__version__
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert here.memory > 1 << 28
    assert here.processor
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        words = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
        assert set(here.features) == set(words) & set(_machine.FEATURES)
        assert here.multiplies_bf16 == bool({"avx512_bf16", "amx_bf16"} & set(words))
    assert json.loads(json.dumps(here.to_json()))["rates"]["f32"] == here.rates.f32


def test_measuring_leaves_no_trace() -> None:
    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    rates = _machine.measure()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), generator)
    assert 0.1 < rates.f32 < 1e4
    assert 0.01 < rates.bf16 < 1e5 if machine().multiplies_bf16 else rates.bf16 == 0.0


def test_what_the_processor_cannot_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "_features", lambda: ("avx2", "fma"))
    kinds = []
    multiply = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b: kinds.append(a.dtype) or multiply(a, b))
    assert _machine.measure().bf16 == 0.0
    assert set(kinds) == {torch.float32}


def test_it_is_measured_once(cache: Path, measured: list[int]) -> None:
    first = machine().rates
    assert machine().rates == first
    _machine._rates.cache_clear()  # as in another process
    assert machine().rates == first == Rates(1.0, 2.0, 3.0)
    assert len(measured) == 1
    assert [path.suffix for path in cache.iterdir()] == [".json"]
    assert machine(measure_again=True).rates.f32 == 2.0
    assert len(measured) == 2


def test_another_processor_or_pytorch_is_measured_anew(
    cache: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine()
    for name, change in (("processor", "Another"), ("_features", ("avx2",))):
        monkeypatch.setattr(_machine, name, lambda change=change: change)
        _machine._rates.cache_clear()
        machine()
    monkeypatch.setattr(torch, "__version__", "9.9")
    _machine._rates.cache_clear()
    machine()
    assert len(measured) == 4
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"f32": "x", "f32_onednn": 1, "bf16": 1}', '{"f32": 0}', "\x00"])
def test_a_damaged_cache_is_measured_anew(cache: Path, measured: list[int], content: str) -> None:
    machine()
    (file,) = cache.iterdir()
    file.write_text(content)
    _machine._rates.cache_clear()
    assert machine().rates.f32 == 2.0
    assert json.loads(file.read_text())["f32"] == 2.0, "and whole again"


def test_a_cache_that_cannot_be_written_is_tolerated(cache: Path, measured: list[int]) -> None:
    cache.write_text("a file where the folder should be")
    assert machine().rates.f32 == 1.0
    assert machine(measure_again=True).rates.f32 == 2.0


def test_a_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text
    quota = {"text": "150000 100000\n"}

    def fake(self: Path, *args: object, **words: object) -> str:
        return quota["text"] if self.name == "cpu.max" else read(self, *args, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", fake)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert _machine._cores() == 1
    quota["text"] = "400000 100000\n"
    assert _machine._cores() == 4
    quota["text"] = "max 100000\n"
    assert _machine._cores() == 6
