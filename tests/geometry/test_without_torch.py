"""Geometry and reference are light: they work without PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


def imports_torch(statement: str) -> bool:
    script = f"{statement}\nimport sys\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    return done.stdout.strip() == "True"


@pytest.mark.parametrize("room", ["geometry", "reference"])
def test_room_does_not_import_torch(room):
    assert not imports_torch(f"import striate.{room}")


def test_this_test_can_fail():
    assert imports_torch("import striate.ops")
