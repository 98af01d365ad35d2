"""Every benchmark says what it measures."""

import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COMMANDS = sorted(path for path in BENCHMARKS.glob("*.py") if "if __name__ ==" in path.read_text(encoding="utf-8"))
sys.path.append(str(BENCHMARKS))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_help(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert not ended.value.code
    assert "usage:" in capsys.readouterr().out
