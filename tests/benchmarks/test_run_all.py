"""One command runs all measurements of speed, and says which of them failed."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import run_all
from run_all import ALL, Measurement

BENCHMARKS = Path(run_all.__file__).parent


def test_it_knows_every_benchmark_that_writes_a_page_of_speed() -> None:
    """Judges measure correctness, trained runs have to be there, and a GPU is not everywhere."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in BENCHMARKS.glob("*.py")}
    writing = {name for name, text in texts.items() if "write_section(" in text} - {
        "sections",
        "judges",
        "gpu",
        "prepared_accuracy",
    }
    assert {each.script for each in ALL} == writing


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.script)
def test_the_benchmarks_have_the_options_that_they_get(
    each: Measurement, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = run_all.command(each, tmp_path, tmp_path if each.data else None, quick=True)
    monkeypatch.setattr(sys, "argv", [command[1], "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit):
        runpy.run_path(command[1], run_name="__main__")
    known = capsys.readouterr().out
    assert all(f"{word} " in known for word in command[2:] if word.startswith("--"))
    assert str(tmp_path / each.page) in command
    page = (run_all.PAGES / each.page).read_text(encoding="utf-8")
    assert f"`python benchmarks/{each.script}.py" in page, "the page says how"


def test_all_are_run_though_one_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        done.append(command)
        return subprocess.CompletedProcess(command, "native_kernels" in command[1])

    monkeypatch.setattr(run_all.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["run_all"])
    with pytest.raises(SystemExit) as ended:
        run_all.main()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.err == "failed: native_kernels\n"
    assert "== 1/7 start_up, 4 min of the 98 that are left" in said.out
    assert [Path(command[1]).stem for command in done] == [each.script for each in ALL if not each.data]
    assert all("--write" in command and "--quick" not in command for command in done)
    done.clear()
    monkeypatch.setattr(sys, "argv", ["run_all", "--only", "networks", "start_up", "--quick"])
    run_all.main()
    assert [command[2:] for command in done] == [["--quick"], ["--quick"]], "a look writes nothing"


def test_accuracies_need_data(tmp_path: Path) -> None:
    assert [each.script for each in run_all.planned(["time_to_accuracy"], tmp_path)] == ["time_to_accuracy"]
    assert not any(each.data for each in run_all.planned(None, None))
    with pytest.raises(SystemExit, match="--data-root"):
        run_all.planned(["time_to_accuracy"], None)
