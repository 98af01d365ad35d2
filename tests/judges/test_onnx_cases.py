"""ONNX's own cases through Striate's operators: each is run or excused, and none may go missing."""

import re
from collections import Counter

import onnx
import pytest
from judge_record import relative_error
from onnx_adaptor import ADAPTORS, run_model
from onnx_cases import EXCUSED_CASES, EXCUSED_OPERATORS, EXCUSED_SETS, MODEL_SETS, ROUNDED, relevant_cases, rounding
from onnx_cases import sets_of_the_suite as installed_sets

from striate import ops

IMPLEMENTATIONS = ("aten", "reference")

# how many cases the tested version of ONNX holds for each of our operators: fewer means that some are no longer found
CASES = {
    "AveragePool": 27,
    "Col2Im": 5,
    "Conv": 46,
    "ConvInteger": 2,
    "ConvTranspose": 14,
    "DeformConv": 4,
    "GlobalAveragePool": 2,
    "GlobalMaxPool": 2,
    "LRN": 2,
    "MaxPool": 28,
    "MaxUnpool": 2,
}


@pytest.fixture(scope="module")
def cases():
    return relevant_cases()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("operator", ADAPTORS)
def test_onnx(cases, operator, impl):
    """Outputs have ONNX's shapes and types and its values, to single precision."""
    run = 0
    for case in cases:
        if case.excuse(impl) or case.ours != operator:
            continue
        for output, expected in zip(run_model(case.model, case.inputs, impl), case.outputs, strict=True):
            assert (output.shape, output.dtype) == (expected.shape, expected.dtype), case.name
            assert relative_error(output, expected) <= rounding(case.name, expected), case.name
        run += 1
    assert run >= CASES[operator] - sum(who == impl and ours(cases, name) == operator for name, who in EXCUSED_CASES)


def ours(cases, name):
    return next(case.ours for case in cases if case.name == name)


def test_no_case_is_lost(cases):
    """Every case of our operators is run, and there are as many as there were."""
    found = Counter(case.ours for case in cases if not case.operators & set(EXCUSED_OPERATORS))
    assert {operator: count for operator, count in CASES.items() if found[operator] < count} == {}
    assert set(CASES) == set(ADAPTORS)


def test_excuses_are_needed(cases):
    """An excuse for a case or a set that is not there would hide a misspelling."""
    assert {name for name, _ in EXCUSED_CASES} | set(ROUNDED) <= {case.name for case in cases}
    assert installed_sets() - {"node"} == set(MODEL_SETS) | set(EXCUSED_SETS)
    seen = set().union(*(case.operators for case in cases))
    without_cases = {"GlobalLpPool", "MaxRoiPool", "RoiAlign"}
    assert set(EXCUSED_OPERATORS) - seen <= without_cases


def test_every_operator_of_onnx_like_ours_is_known():
    """A new convolution or pooling of ONNX must be run or excused."""
    alike = re.compile("conv|pool|col|lrn|roi(?!d)", re.IGNORECASE)
    known = {schema.name for schema in onnx.defs.get_all_schemas() if alike.search(schema.name)}
    assert known <= set(ADAPTORS) | set(EXCUSED_OPERATORS)


def test_a_wrong_operator_is_noticed(cases, monkeypatch):
    convolve = ops.conv
    monkeypatch.setattr(ops, "conv", lambda x, w, *rest, **words: convolve(x, w.flip(-1), *rest, **words))
    with pytest.raises(AssertionError):
        test_onnx(cases, "Conv", "aten")
