"""The READMEs are true: every command and snippet in them runs, in the order in which a reader meets them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import striate
from pictures import write_idx, write_photos, write_scenes
from striate.training.recipes import _choice

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
PAGES = (
    "docs/training.md",
    "docs/scaling.md",
    "docs/data.md",
    "docs/signals.md",
    "docs/segmentation.md",
    "docs/doctor.md",
    "docs/inspect.md",
    "docs/recipes.md",
    "docs/compare.md",
    "docs/weights.md",
    "docs/unsupervised.md",
    "docs/runtime.md",
    "docs/tracking.md",
)


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, text)."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages speak of: photos/, scenes/, mnist/ and scan.png."""
    write_scenes(tmp_path / "scenes", count=6)
    write_photos(tmp_path / "photos", per_class=6)
    (tmp_path / "mnist").mkdir()
    for name, count in (("train", 60), ("t10k", 20)):
        write_idx(
            tmp_path / "mnist" / f"{name}-images-idx3-ubyte.gz", np.arange(count * 784).reshape(count, 28, 28) % 251
        )
        write_idx(tmp_path / "mnist" / f"{name}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    Image.new("L", (40, 30), 200).save(tmp_path / "scan.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # what is kept of shards
    monkeypatch.setattr(_choice, "MOST_EPOCHS", 2)  # a dozen pictures of noise are seen 200 times otherwise
    return tmp_path


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_every_command_and_snippet_runs(page: str, place: Path) -> None:
    """Commands run in this process, one thread; a `# ...` behind one is a remark to the reader."""
    ran = 0
    for language, text in blocks(page):
        if language == "console":
            for line in text.splitlines():
                assert line.startswith("$ striate "), line
                outcome = striate(*shlex.split(line.removeprefix("$ striate "), comments=True))
                assert outcome.code == 0, f"{line}\n{outcome.err}"
                ran += 1
        elif language == "python":
            exec(compile(text, page, "exec"), {})
            ran += 1
    assert ran >= 2


def test_the_set_up_commands_are_targets_of_the_makefile() -> None:
    wanted = [text.strip() for language, text in blocks("README.md") if language == "sh"]
    assert wanted == ["make demo", "make test", "pip install -c constraints.txt ."]
    done = subprocess.run(["make", "-n", "demo", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "striate train digits" in done.stdout
    assert "pytest" in done.stdout


def test_both_languages_have_the_same_commands_and_snippets() -> None:
    english, chinese = ([(language, re.sub(r"#.*", "", text)) for language, text in blocks(page)] for page in READMES)
    assert english == chinese


@pytest.mark.parametrize(
    "page", [*READMES, "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_constraints_pin_what_is_tested() -> None:
    """The versions in use here are those that the constraints name (but for a local suffix such as +cpu)."""
    from importlib.metadata import PackageNotFoundError, version

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert {"torch", "numpy", "pillow", "pytest"} <= pins.keys()
    for name, pinned in pins.items():
        try:
            assert version(name).partition("+")[0] == pinned, name
        except PackageNotFoundError:
            continue


@pytest.mark.slow
def test_a_fresh_clone_sets_itself_up(tmp_path: Path) -> None:
    """`make demo` in a clone, in a new environment: minutes."""
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    done = subprocess.run(
        ["make", "demo", f"PYTHON={sys.executable}"], cwd=tmp_path / "clone", capture_output=True, text=True, check=True
    )
    last = done.stdout.strip().splitlines()[-1]
    assert float(re.match(r"test accuracy ([\d.]+) %", last)[1]) >= 98.0  # type: ignore[index]
