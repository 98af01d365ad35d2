"""The parts of a batch that fit into a memory: against a memory made of formulas, and measured."""

import json
import mmap
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from commands import striate
from striate.errors import StriateError
from striate.training import _fit_memory, named_recipe
from striate.training._fit_memory import MemoryFit, Point, largest
from striate.training._memory import counting_anew, peak_memory
from striate.training._out_of_memory import is_out_of_memory, told_of_memory

RECIPE = named_recipe("digits")


def linear(
    held: float, per_picture: float, per_batch: float = 0.0, most: float = 1e9
) -> tuple[Callable[[int, int], float | None], list[float]]:
    """A memory that grows with the pictures of a part and a little with those of the batch; what is above is killed."""
    seen: list[float] = []

    def measured(part: int, batch: int) -> float | None:
        mib = held + per_picture * min(part, batch) + per_batch * batch
        seen.append(mib)
        return mib if mib <= most else None

    return measured, seen


@pytest.mark.parametrize("limit", [700.0, 1000.0, 1500.0, 4000.0])
@pytest.mark.parametrize(("per_picture", "per_batch"), [(10.0, 0.0), (3.0, 0.5), (40.0, 1.0)])
def test_the_largest_part_that_fits(limit: float, per_picture: float, per_batch: float) -> None:
    measured, seen = linear(400.0, per_picture, per_batch)
    part, mib, points = largest(measured, 256, limit, 380.0)
    truth = max((m for m in range(1, 257) if 400 + per_picture * m + per_batch * 256 <= limit), default=0)
    assert 0.75 * truth - 2 <= part <= truth
    assert mib == pytest.approx(400 + per_picture * part + per_batch * 256)
    assert mib <= limit
    assert sum(mib > limit for mib in seen) <= (truth < 2), (
        "but for the smallest part nothing is tried that does not fit"
    )
    assert Point(part, mib) in points


def test_whole_batches_fit() -> None:
    measured, _ = linear(400.0, 1.0)
    assert largest(measured, 100, 1000.0, 400.0)[:2] == (100, 500.0)


@pytest.mark.parametrize("whole", [1, 2, 3, 5])
def test_small_batches(whole: int) -> None:
    measured, _ = linear(400.0, 10.0)
    assert largest(measured, whole, 1000.0, 400.0)[0] == whole


def test_not_even_the_smallest_part_fits() -> None:
    measured, _ = linear(400.0, 500.0)
    assert largest(measured, 100, 890.0, 400.0)[0] == 0
    refused, _ = linear(400.0, 500.0, most=600.0)
    assert largest(refused, 100, 9000.0, 400.0) == (0, 0.0, (Point(2, None), Point(1, None)))


def test_an_allocation_that_fails_on_the_way_is_too_much() -> None:
    measured, _ = linear(400.0, 10.0, most=800.0)
    part, mib, _ = largest(measured, 256, 5000.0, 400.0)
    assert 8 <= part <= 40
    assert mib <= 800.0


PROGRAM = """
import json
from striate.training import Listener, named_recipe
from striate.training._plan import planned
from striate.training._fit_memory import largest_parts
from striate.training._rehearsal import Rehearsal
from pathlib import Path

settings = ["batch_size=32", "model.options.blocks=[[1,32,2]]", "optimizer.lr=0.01", "data.border=16"]
recipe = named_recipe("digits-convnet").set(settings)
plan = planned(recipe, "digits", Path(), data_root=None, runtime=None, device="cpu", listener=Listener())
rehearsal = Rehearsal(plan.run, plan.data)
from striate.training._memory import counting_anew, held_memory
def at(pictures):
    rehearsal.recipe = recipe.replace(batch_size=pictures)
    with plan.run.runtime.applied(), counting_anew(rehearsal.device) as peak:
        rehearsal.step(*next(rehearsal.endless()))
    return peak.mib
at(8)
found = {pictures: at(pictures) for pictures in (16, 32, 80)}
rehearsal.recipe = recipe
limit = (found[16] + found[32]) / 2
fit = largest_parts(rehearsal, limit)
print(json.dumps({"found": found, "limit": limit, "fit": fit.to_json()}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the peak of resident memory anew when it is told to")
def test_the_memory_of_a_step_is_a_line_through_two_points() -> None:
    """In a process of its own: two points foretell a third, and a limit is kept."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    values = json.loads(done.stdout.splitlines()[-1])
    at = {int(pictures): mib for pictures, mib in values["found"].items()}
    foretold = at[32] + (80 - 32) * (at[32] - at[16]) / 16
    assert at[80] - at[16] > 50, "a step of 80 pictures takes memory worth measuring"
    assert foretold - at[16] == pytest.approx(at[80] - at[16], rel=0.3)
    fit = values["fit"]
    assert 4 <= fit["micro_batch"] < 32
    assert fit["peak_mib"] <= values["limit"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the peak of resident memory anew when it is told to")
def test_a_peak_that_is_counted_anew_hides_no_earlier_one() -> None:
    def touched(size: int) -> None:
        with mmap.mmap(-1, size) as fresh:  # malloc might give what an earlier test has left
            for place in range(0, size, mmap.PAGESIZE):
                fresh[place] = 1

    device = torch.device("cpu")
    touched(64 << 20)
    before = peak_memory(device)
    with counting_anew(device) as small:
        pass
    with counting_anew(device) as large:
        touched(96 << 20)
    assert before is not None
    assert large.mib - small.mib == pytest.approx(96, abs=24)
    assert (peak_memory(device) or 0.0) >= before


def test_a_system_that_cannot_count_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.training._memory._CLEAR", tmp_path / "absent" / "clear_refs")
    with (
        pytest.raises(StriateError, match=r"cannot be measured here .*takes Linux or a GPU.*--set micro_batch=16"),
        counting_anew(torch.device("cpu")),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (KeyError("memory"), False),
    ],
)
def test_what_is_want_of_memory(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory
    if not isinstance(error, KeyError):
        with pytest.raises(StriateError if is_memory else RuntimeError), told_of_memory(RECIPE):
            raise error


def test_pytorch_says_it_in_these_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_the_sentence_has_the_remedy() -> None:
    with (
        pytest.raises(StriateError, match=r"with 64 pictures at once: .*--fit-memory auto.*--set micro_batch=32$"),
        told_of_memory(RECIPE.replace(batch_size=64)),
    ):
        raise MemoryError
    with (
        pytest.raises(StriateError, match=r"with 1 picture at once: .* or with smaller pictures, --set data.size"),
        told_of_memory(RECIPE.replace(batch_size=64, micro_batch=1)),
    ):
        raise MemoryError


def test_what_it_says() -> None:
    fit = MemoryFit(16, 2000.0, 1900.0, (Point(2, 500.0),), True)
    assert fit.as_text(64) == (
        "memory: batches of 64 are computed in parts of at most 16 pictures (1.9 GiB of 2.0 GiB); "
        "batch normalisation sees a part at a time"
    )
    assert MemoryFit(0, 900.0, 500.0, (), False).as_text(64) == "memory: whole batches of 64 fit (500 MiB of 900 MiB)"


def test_training_in_parts_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a memory made of a formula: the parts are in the recipe, what was measured in the run."""
    monkeypatch.setattr(_fit_memory, "largest", lambda measured, whole, limit, held: (8, 50.0, (Point(8, 50.0),)))
    settings = ("--model", "lenet5-modern", "--set", "epochs=1", "--threads", 1)
    code, _, err = striate("train", "digits", *settings, "--fit-memory", 4000, "--out", tmp_path / "run")
    assert code == 0, err
    assert "are computed in parts of at most 8 pictures (50 MiB of 3.9 GiB)\n" in err
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (recipe["micro_batch"], recipe["batch_size"]) == (8, named_recipe("lenet5-modern").batch_size)
    assert json.loads((tmp_path / "run" / "memory.json").read_text()) == {
        "micro_batch": 8,
        "limit_mib": 4000.0,
        "peak_mib": 50.0,
        "points": [{"pictures": 8, "mib": 50.0}],
        "normalised": False,
    }


def test_nothing_fits_and_nothing_is_written(tmp_path: Path) -> None:
    code, _, err = striate("train", "digits", "--fit-memory", 1, "--out", tmp_path / "run")
    assert code == 1
    assert "memory: not even 1 picture at once fits into 1 MiB, it takes" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("digits", "--fit-memory", "much"), "--fit-memory much: expected auto, or how many MiB"),
        (("digits", "--fit-memory", "0"), "--fit-memory 0: expected auto, or how many MiB"),
        (("--resume", "x", "--fit-memory", "auto"), "leave out --out, --recipe"),
        (
            ("digits", "--fit-memory", "auto", "--set", "micro_batch=4"),
            "chooses micro_batch=4 itself: leave one of them out",
        ),
    ],
)
def test_bad_input(arguments: tuple[str, ...], sentence: str) -> None:
    code, _, err = striate("train", *arguments)
    assert code == 2
    assert sentence in err
