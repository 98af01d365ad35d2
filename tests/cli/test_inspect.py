"""`striate inspect` and `striate models --check`."""

import json
from pathlib import Path

import pytest

from commands import striate
from striate.insight import _published
from striate.models import Published


def test_a_network_by_name() -> None:
    outcome = striate("inspect", "lenet5")
    assert (outcome.code, outcome.err) == (0, "")
    header, *_ = lines = outcome.out.splitlines()
    assert header.split() == ["layer", "kind", "output", "params", "MACs", "FLOPs", "memory", "field", "stride"]
    assert max(map(len, lines)) <= 100
    c3 = next(line for line in lines if line.startswith("C3"))
    assert c3.split() == ["C3", "Conv", "16x10x10", "1,516", "150.0", "K", "301.6", "K", "6.25", "KiB", "14", "2"]
    assert lines[-1] == "input 1 x 32 x 32; 60,000 parameters, 60,000 of them trainable; 328,096 MACs"


def test_every_column() -> None:
    outcome = striate("inspect", "lenet5", "--wide")
    assert {"neurons", "edges", "weights", "note"} <= set(outcome.out.splitlines()[0].split())
    assert "340.9 K" in outcome.out


def test_another_size_other_options_and_a_batch() -> None:
    settings = ("--set", "norm=none", "--set", "blocks=[[1,4,1]]")
    outcome = striate(
        "inspect", "convnet", "--size", "12,8", "--channels", 3, "--classes", 5, *settings, "--batch", 2, "--json"
    )
    assert outcome.code == 0
    summary = json.loads(outcome.out)
    assert summary["input_size"] == [3, 12, 8]
    conv, *_, dense = summary["rows"]
    assert (conv["output_size"], conv["parameters"], conv["activation_bytes"]) == ([4, 12, 8], 112, 2 * 4 * 4 * 96)
    assert dense["output_size"] == [5]
    assert summary["failure"] is None


def test_a_bundle_and_a_run(bundle: Path) -> None:
    for path in (bundle, bundle.parent):
        outcome = striate("inspect", path)
        assert outcome.code == 0, outcome.err
        assert "input 1 x 32 x 32" in outcome.out
    assert striate("inspect", bundle, "--size", "9,9").err == (
        "striate: inspect: a bundle's network is as it was trained; leave out size\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("lenet",), "unknown model 'lenet'; did you mean 'lenet5'?"),
        (("no/such.striate",), "no/such.striate: no such file"),
        (("lenet5", "--size", "32"), "model 'lenet5' takes pictures (height, width) and was given series (length)"),
        (("fcn-1d", "--size", "8,8"), "model 'fcn-1d' takes series (length) and was given pictures (height, width)"),
        (
            ("lenet5", "--size", "1,2,3"),
            "--size must be height and width, such as 224,224, or the length of series, got '1,2,3'",
        ),
        (("lenet5", "--size", "0,32"), "--size must be 1 or more on each axis"),
        (("lenet5", "--size", "28,28"), "lenet5: takes 32 x 32 images"),
        (("convnet", "--set", "nrm=none"), "has no option 'nrm'; did you mean 'norm'?"),
        (("convnet", "--set", "norm"), "--set takes OPTION=VALUE"),
        (("convnet", "--set", "classes=3"), "give --classes instead"),
        (("convnet", "--set", "dropout=high"), "dropout must be at least 0 and below 1, got 'high'"),
    ],
)
def test_what_is_wrong_in_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    outcome = striate("inspect", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1


def test_figures_of_a_paper() -> None:
    outcome = striate("models", "--check", "lenet5")
    assert outcome.code == 0
    assert "the network, connections" in outcome.out
    assert outcome.out.splitlines()[-1] == "18 figures: 18 agree, 0 depart as stated, 0 disagree"
    rows = json.loads(striate("models", "--check", "lenet5", "--json").out)["lenet5"]
    assert all(row["agrees"] for row in rows)
    assert rows[-1]["paper"] == rows[-1]["ours"] == 340_908


def test_a_disagreement_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Published("lenet5", "parameters", 61_000, "table 1"),
        Published("lenet5", "macs", 5, "table 2", ours=328_096, departs="counted otherwise"),
        Published("lenet5", "macs", 5, "table 2", layer="C9"),
    ]
    monkeypatch.setattr(_published, "published", lambda name: rows)
    outcome = striate("models", "--check", "lenet5")
    assert outcome.code == 1
    assert "61,000 | ours           60,000 | table 1  disagrees" in outcome.out
    assert "departs: counted otherwise" in outcome.out
    assert "no such layer" in outcome.out
    assert outcome.out.splitlines()[-1] == "3 figures: 0 agree, 1 depart as stated, 2 disagree"


def test_one_network_is_described() -> None:
    outcome = striate("models", "lenet5")
    assert outcome.out.splitlines()[0] == "lenet5"
    assert "Gradient-Based Learning" in outcome.out
    assert striate("models", "lenet").code == 2
