"""The benchmark of prepared networks on real pictures: a trained run is judged in every way, and the table says so."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import prepared_accuracy as benchmark

from striate.bundle import load, save_trained
from striate.training import fit, named_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    save_trained(fit(named_recipe("digits").set(["epochs=3"]), "digits", folder, threads=1))
    return folder


def test_every_way_is_judged(run: Path) -> None:
    rows = {row["way"]: row for row in benchmark.judged(run, "digits", None)}
    assert list(rows) == list(benchmark.WAYS)
    plain, total = rows["pytorch"], 300
    assert {row["total"] for row in rows.values()} == {total}
    assert (plain["right"], plain["same"], plain["off"]) == (load(run / "model.striate").metrics["correct"], 300, 0)
    assert 0 < rows["striate"]["off"] < 1e-5 < rows["striate bf16"]["off"] < 2e-2
    assert 1e-5 < rows["pytorch bf16"]["off"] < 2e-2
    assert all(
        row["same"] >= 0.97 * total and abs(row["right"] - plain["right"]) <= 0.03 * total for row in rows.values()
    )


def test_runs_of_a_network_are_one_row() -> None:
    rows = [
        {"network": "a", "way": way, "total": 200, "right": right, "same": 199, "off": 2e-3 * right / 100}
        for right in (100, 110)
        for way in benchmark.WAYS
    ]
    text = benchmark.report(rows, "somewhere/flowers")
    assert text.startswith("flowers; ")
    assert "| `a` | striate bf16 | 2 | 200 | 52.50 (50.00 to 55.00) | 99.50 (99.50 to 99.50) | 2.1e-03 |" in text
    assert "| `a` | pytorch | 1 | 200 | 50.00 | 99.50 | 2.0e-03 |" in benchmark.report(rows[:4], "flowers")
