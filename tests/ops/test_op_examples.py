"""The examples in the operators' docstrings do what they say."""

import doctest
import importlib

import pytest

from striate.ops._dispatch import TABLE


@pytest.mark.parametrize("module", [*TABLE, "dispatch"])
def test_examples(module):
    failed, tried = doctest.testmod(importlib.import_module(f"striate.ops._{module}"))
    assert tried > 0
    assert failed == 0
