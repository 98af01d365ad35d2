"""`striate compare`: names, bundles, functions; text and JSON."""

import json
from pathlib import Path

import pytest

from commands import striate


def test_two_names() -> None:
    outcome = striate("compare", "lenet5", "lenet5-modern")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0] == "lenet5 -> lenet5-modern"
    assert "  C3: links 60 -> all" in outcome.out.splitlines()


def test_json() -> None:
    result = json.loads(striate("compare", "lenet5", "lenet5", "--json").out)
    assert (result["here"], result["same"], result["differences"]) == ("lenet5", True, [])


def test_a_bundle_and_a_name(bundle: Path) -> None:
    outcome = striate("compare", bundle, "convnet", "--size", "1,32,32")
    assert outcome.code == 2  # the bundle takes one channel, the published network three
    assert outcome.err.startswith("striate: compare: the second network stops at")
    assert striate("compare", bundle, bundle.parent).out.splitlines()[1] == "  no architectural difference"


def test_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mynets.py").write_text(
        "from torch import nn\n\n\ndef small():\n    return nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU())\n\n\n"
        "def broken():\n    raise KeyError('maps')\n"
    )
    monkeypatch.chdir(tmp_path)
    outcome = striate("compare", "mynets:small", "mynets:small", "--size", "1,32,32")
    assert outcome.out.splitlines()[1] == "  no architectural difference"
    assert "fails without arguments (KeyError: 'maps')" in striate("compare", "mynets:broken", "lenet5").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lenet", "lenet5"), "unknown model 'lenet'; did you mean 'lenet5'?"),
        (("lenet5", "nowhere.to:go"), "nowhere.to:go cannot be imported"),
        (("lenet5", "os:getcwd"), "os:getcwd() returns a str, expected a torch.nn.Module"),
        (("lenet5", "no/such.striate"), "no such file"),
        (("lenet5", "lenet5", "--size", "big"), "--size must be channels, height and width"),
        (("torch.nn:ReLU", "torch.nn:ReLU"), "give input_size"),
    ],
)
def test_what_is_wrong_is_one_sentence(words: tuple[str, ...], message: str) -> None:
    outcome = striate("compare", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
