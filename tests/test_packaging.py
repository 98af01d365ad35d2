"""The package builds with and without a compiler."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["none", "real"])
def test_the_install_does_without_a_compiler(tmp_path: Path, compiler: str) -> None:
    """The native extension is built where there is a compiler, else left out."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so"))
        else:
            shutil.copy(source, tmp_path / name)
    environment = {**os.environ, "CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"} if compiler == "none" else None
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", "."],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    built = [name for name in zipfile.ZipFile(wheel).namelist() if "_native" in name]
    assert bool(built) == (compiler == "real")
