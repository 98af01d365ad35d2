"""Every operator before PyTorch, SciPy, NumPy and finite differences: each pair runs, and none finds an error."""

import numpy as np
import pytest
import torch
from judge_bench import IMPLEMENTATIONS, NOT_OFFERED, compare, operators, pairs, tolerance
from judge_draws import draw
from judge_record import relative_error, summarize

from striate import ops
from striate.errors import InputError
from striate.ops._dispatch import TABLE

CALLS = range(12)  # benchmarks/judges.py runs many more


@pytest.mark.parametrize("operator", operators())
def test_every_judge_agrees(operator):
    verdicts = summarize(compare(operator, CALLS))
    wrong = [verdict for verdict in verdicts if verdict.worst > tolerance(verdict.judge, verdict.dtype)]
    assert wrong == []
    assert {(verdict.judge, verdict.impl) for verdict in verdicts} == set(pairs(operator))
    dtypes = {(verdict.impl, verdict.dtype) for verdict in verdicts}
    assert dtypes == {(impl, dtype) for impl in IMPLEMENTATIONS for dtype in ("float64", "float32", "bfloat16")}


def test_every_operator_is_judged():
    assert set(operators()) == set(TABLE)


@pytest.mark.parametrize("operator", operators())
def test_a_wrong_operator_is_noticed_by_every_judge(operator, monkeypatch):
    """An error in the last digits of single precision, in value and derivative, escapes no judge of float64."""
    right = getattr(ops, operator)

    def wrong(*operands, **words):
        return (
            right(*operands, **words) * (1 + 1e-7 * operands[0].detach().sum().sign()) + 1e-5 * operands[0].sum() ** 3
        )

    monkeypatch.setattr(ops, operator, wrong)
    verdicts = [verdict for verdict in summarize(compare(operator, range(4))) if verdict.dtype == "float64"]
    values = [verdict for verdict in verdicts if "differences" not in verdict.judge]
    assert [verdict for verdict in values if verdict.worst <= tolerance(verdict.judge, verdict.dtype)] == []


def test_a_wrong_gradient_is_noticed_by_the_differences(monkeypatch):
    right = ops.conv

    def wrong(x, *operands, **words):
        return right(x + (x - x.detach()) * 1e-3, *operands, **words)  # the right value, a gradient 0.1% too large

    monkeypatch.setattr(ops, "conv", wrong)
    verdicts = [verdict for verdict in summarize(compare("conv", range(6))) if "differences" in verdict.judge]
    assert {verdict.judge for verdict in verdicts} == {"finite differences", "finite differences of gradients"}
    assert all(verdict.worst > tolerance(verdict.judge, verdict.dtype) for verdict in verdicts)


def test_the_draws_meet_the_awkward_cases():
    convs = [draw("conv", seed) for seed in range(60)]
    assert {call.rank for call in convs} == {1, 2, 3}
    assert {call.words["groups"] for call in convs} == {1, 2, 3}
    assert any(min(min(pair) for pair in call.words["padding"]) < 0 for call in convs)
    assert any(max(call.words["upsample"]) > 1 < max(call.words["stride"]) for call in convs)
    deformed = [draw("deform_conv", seed) for seed in range(20)]
    assert {"mask" in call.operands for call in deformed} == {True, False}
    assert {call.words["offset_groups"] for call in deformed} == {1, 2}
    assert any(call.words["ceil"] for call in (draw("max_pool", seed) for seed in range(20)))


@pytest.mark.parametrize("operator", ["max_pool", "avg_pool"])
@pytest.mark.parametrize("impl", ["aten", "reference"])
def test_what_is_cropped_is_not_pooled(operator, impl):
    """A crop is an input that is not there: the last window, which ceil lets hang over, must not read it."""
    x = torch.arange(9, dtype=torch.float64).view(1, 1, 9)
    pool = getattr(ops, operator)
    y = pool(x, 4, stride=2, padding=((-1, -1),), ceil=True, impl=impl)
    torch.testing.assert_close(y, pool(x[..., 1:-1], 4, stride=2, ceil=True, impl=impl))


def test_what_is_not_offered_is_still_not_offered():
    """It is refused in words, and left to the reference; if PyTorch learns it, it is to be judged."""
    for impl, dtype, operator, rank in NOT_OFFERED:
        x = torch.ones(1, 1, *(2,) * rank, dtype=getattr(torch, dtype))
        weights = [torch.ones(1, dtype=x.dtype)] * 2 if operator == "subsample" else []
        with pytest.raises(InputError, match=r"does not support torch\.bfloat16 over 3 spatial axes on a CPU"):
            getattr(ops, operator)(x, *weights, 2, impl=impl)
        assert getattr(ops, operator)(x, *weights, 2).dtype == x.dtype
        with pytest.raises((RuntimeError, NotImplementedError)):
            torch.nn.functional.avg_pool3d(x, 2)


def test_relative_error():
    assert relative_error(torch.tensor([1.0, 2.5]), np.array([1.0, 2.0])) == 0.25
    assert relative_error(np.zeros(3), np.zeros(3)) == 0.0
    assert relative_error(np.zeros((0, 2)), np.zeros((0, 2))) == 0.0
    assert relative_error(np.zeros(3), np.zeros((3, 1))) == float("inf")
    assert relative_error(np.array([np.nan]), np.array([1.0])) == float("inf")
