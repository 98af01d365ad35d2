"""The benchmark of starting: medians of fresh processes, and what a prediction takes over PyTorch."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import start_up as benchmark
from start_up import ALONE, PREDICT, Seconds


def test_medians_without_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([9.0, 9.0, 1.0, 1.0, 5.0, 5.0, 2.0, 2.0])
    monkeypatch.setattr(benchmark, "run", lambda command: Seconds(next(taken), 0.5))
    assert benchmark.in_rounds({"a": ["x"], "b": ["y"]}, 3) == {"a": Seconds(2.0, 0.5), "b": Seconds(2.0, 0.5)}


def test_processes_are_timed_and_told_of_when_they_fail() -> None:
    found = benchmark.run([sys.executable, "-c", "import time; time.sleep(0.2)"])
    assert found.wall >= 0.2 > found.cpu > 0
    with pytest.raises(SystemExit, match=r"(?s)failed:.*no such luck"):
        benchmark.run([sys.executable, "-c", "raise SystemExit('no such luck')"])


def test_the_prediction_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = os.pathsep.join([str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", source)
    ways = benchmark.ways(tmp_path)
    assert benchmark.run(ways[PREDICT]).wall > 0
    (tmp_path / "picture.png").unlink()
    with pytest.raises(SystemExit, match=r"picture\.png"):
        benchmark.run(ways[PREDICT])


def test_the_report_says_what_comes_on_top_of_pytorch() -> None:
    sizes = dict.fromkeys(("compiling_s", "compiling_cpu_s"), 60.0)
    sizes |= {"wheel_bytes": 2 * 2**20, "installed_bytes": 5 * 2**20, "kernels_bytes": 3 * 2**20}
    text = benchmark.report({ALONE: Seconds(1.0, 0.9), PREDICT: Seconds(1.4, 1.2)}, sizes)
    assert "takes 0.40 s over `import torch` alone (0.30 s of the processor)" in text
    assert "| `striate predict` | 1.40 | 1.20 | +0.40 |" in text
    assert "wheel has 2.0 MiB, what it installs 5.0 MiB, of which the C++ kernels" in text
    assert "Compiling" not in benchmark.report({ALONE: Seconds(1.0, 0.9), PREDICT: Seconds(1.4, 1.2)}, {})
