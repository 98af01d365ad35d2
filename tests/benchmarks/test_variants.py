"""What the benchmarks of networks share: rounds, medians, ratios and tables."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import sections
import variants
from variants import AGAIN, Job


def row(variant: str, ms: float, network: str = "vgg", **more: Any) -> dict[str, Any]:
    found = {"ms": ms, "cpu_ms": 2 * ms, "first_s": 1.0, "mib": 300}
    return variants.summary(Job("training", network, 8, 1, variant), [found]) | more


ROWS = [
    row("pytorch", 30.0),
    row(f"pytorch{AGAIN}", 24.0),
    row("striate", 10.0),
    row("pytorch", 8.0, "lenet"),
    {**Job("training", "lenet", 8, 1, "striate")._asdict(), "error": "it | failed"},
]


def test_a_job_goes_over_as_words() -> None:
    job = Job("inference", "vgg", 16, 2, f"pytorch{AGAIN}")
    assert Job.from_words([str(word) for word in job]) == job
    assert job.way == "pytorch"


def test_a_row_has_the_medians_of_its_rounds() -> None:
    times = [(5.0, 300), (3.0, 310), (4.0, 305)]
    found: list[dict[str, Any]] = [
        {"ms": ms, "cpu_ms": ms, "first_s": ms, "mib": mib, "off": None} for ms, mib in times
    ]
    made = variants.summary(Job("training", "vgg", 8, 1, "striate"), [*found, {"error": "once"}])
    assert (made["ms"], made["spread"], made["first_s"], made["mib"], made["rounds"]) == (4.0, 1.67, 5.0, 305, 3)
    failed = variants.summary(Job("training", "vgg", 8, 1, "striate"), [{"error": "no such thing"}])
    assert failed["error"] == "no such thing"


def test_ratios_are_of_the_same_load_only() -> None:
    assert variants.ratio(ROWS[2], ROWS, "pytorch") == 3.0
    assert variants.ratio(ROWS[3], ROWS, "striate") is None
    assert variants.ratio(ROWS[4], ROWS, "pytorch") is None


def test_the_tables() -> None:
    lines = variants.table(ROWS, ["network", "variant", "ms", "pictures/s", "pytorch / this"]).splitlines()
    assert lines[4] == "| `vgg` | striate | 10.00 | 800 | 3.00 |"
    assert lines[6] == "| `lenet` | striate | it / failed |  |  |"
    pairs = [("striate", "pytorch"), ("striate", "jax")]
    assert variants.comparison(ROWS, pairs, ["network"]).splitlines() == [
        "| network | striate over pytorch |",
        "| --- | ---: |",
        "| `vgg` | 3.00 |",
        "| `lenet` |  |",
    ]


def test_the_noise_is_that_of_what_was_measured_as_two() -> None:
    assert "factors of up to 1.25." in variants.noise(ROWS)
    assert "2.00 times its fastest" in variants.noise([row("a", 1.0, rounds=3, spread=2.0)])
    assert "none was measured" in variants.noise(ROWS[2:3])


@pytest.mark.parametrize(("minutes", "rounds"), [(25.0, 2), (30.0, 3), (1.0, 1)])
def test_a_round_that_would_end_too_late_is_not_begun(
    minutes: float, rounds: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [Job("training", "vgg", 8, 1, variant) for variant in "abcde"]
    clock, order = [0.0], list[str]()

    def in_a_process(script: str, job: Job, shared: str, words: Any) -> dict[str, float]:
        clock[0] += 120.0
        order.append(job.variant)
        assert Path(shared).is_dir()
        assert words == ["--quick"]
        return {"ms": 1.0}

    monkeypatch.setattr(variants, "in_a_process", in_a_process)
    monkeypatch.setattr(variants.time, "monotonic", lambda: clock[0])
    found = variants.in_rounds("script", jobs, 3, minutes, ["--quick"])
    assert {len(each) for each in found.values()} == {rounds}
    assert all(set(order[5 * k : 5 * k + 5]) == set("abcde") for k in range(rounds))
    if rounds > 1:
        assert order[:5] != order[5:10], "shuffled anew"
        assert "5/15, 20 min left" in capsys.readouterr().out


def test_a_process_that_fails_is_a_row_with_its_last_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    job = Job("training", "vgg", 8, 1, "striate")
    script.write_text("import json, os, sys; print(json.dumps([os.environ['OMP_NUM_THREADS'], *sys.argv[1:]]))")
    found = variants.in_a_process(str(script), job, str(tmp_path), ["--quick"])
    assert found == ["1", "--quick", "--one", "training", "vgg", "8", "1", "striate", str(tmp_path)]
    script.write_text("raise ValueError('not so')")
    assert variants.in_a_process(str(script), job, str(tmp_path)) == {"error": "ValueError: not so"}


def test_a_step_is_timed_once_it_is_warm() -> None:
    naps = iter([0.2, 0.05, *[0.001] * 5])
    found = variants.timed(lambda: time.sleep(next(naps)), seconds=0.0, fewest=5)
    assert next(naps, None) is None, "the first two are thrown away, five are timed"
    assert found["first_s"] >= 0.2 > found["ms"] / 1e3 >= 0.001
    assert found["mib"] > 10


def test_the_records_of_sections_stand_beside_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    sections.write_record(page, "a", {"rows": [1]}, "torch")
    sections.write_record(page, "b", {"rows": [2]}, "torch")
    sections.write_record(page, "a", {"rows": [3]}, "torch")

    records = json.loads((tmp_path / "page.json").read_text())
    assert (records["a"]["rows"], records["b"]["rows"]) == ([3], [2])
    assert "torch" in records["a"]["versions"]
