"""The documented format is the real one: its reader runs without Striate and finds what Striate finds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_bundles import GREY, images, save

from striate.bundle import load
from striate.bundle._archive import MANIFEST
from striate.bundle._bundle import PARTS
from striate.bundle._verify import TOLERANCE
from striate.data import Masks, Preprocessing, SignalPreprocessing
from striate.evaluation import probabilities

PAGE = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
PROBE = """
import json, sys
assert not [name for name in sys.modules if name.split(".")[0] in {"striate", "torch"}]
named = {"w " + name: tensor for name, tensor in weights.items()}
np.savez(sys.argv[2], inputs=network_input(golden["images"]), chances=chances, **named)
"""


USE, READER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONIOENCODING": "utf-8", "PATH": ""}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "m.striate")


def test_the_use_in_python(tmp_path, monkeypatch, capsys):
    save(tmp_path / "model.striate")
    (tmp_path / "photos").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "b.jpg").touch()
    monkeypatch.chdir(tmp_path)
    exec(USE, {})
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"photos/a\.jpg (ant|bee|cat|汇聚) 0\.\d+ None", first)
    assert second.startswith("photos/b.jpg None None the file is empty")


@pytest.mark.parametrize("preprocessing", [GREY, Preprocessing(1, (35, 32), mean=(0.4,), crop_to=(32, 32))])
def test_the_reader_without_striate_finds_the_same(preprocessing, tmp_path):
    golden = images(20, preprocessing)
    saved = save(tmp_path / "m.striate", preprocessing=preprocessing, golden_images=golden)
    result = run(READER + PROBE, saved, tmp_path / "found.npz")
    assert result.returncode == 0, result.stderr
    found, expected = np.load(tmp_path / "found.npz"), load(saved)
    chances = probabilities(expected.golden_logits, expected.temperature)
    np.testing.assert_allclose(found["chances"], chances, rtol=1e-5)
    inputs = expected.preprocessing(torch.from_numpy(expected.golden_images))
    np.testing.assert_allclose(found["inputs"], inputs.numpy(), rtol=1e-6, atol=1e-6)
    assert {key[2:] for key in found if key.startswith("w ")} == set(expected.state)
    for name, tensor in expected.state.items():
        assert np.array_equal(found["w " + name], tensor.numpy())
        assert f"{name} {found['w ' + name].dtype} {tuple(tensor.shape)}" in result.stdout
    best = int(chances[0].argmax())
    assert f"golden picture 0: {expected.classes.names[best]} ({chances[0, best]:.4f})" in result.stdout


def test_the_reader_without_striate_refuses_damage(saved):
    data = bytearray(saved.read_bytes())
    data[len(data) // 2] ^= 1
    saved.write_bytes(data)
    assert run(READER, saved).stderr == "the bundle is damaged\n"


def test_the_table_lists_the_entries(saved):
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert rows[0] == MANIFEST
    assert set(rows[1:]) == PARTS


def test_the_named_keys_are_the_real_ones(saved):
    from striate.bundle._archive import read_archive

    parts = {name: json.loads(data) for name, data in read_archive(saved, PARTS).items() if name.endswith(".json")}
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", PAGE, re.MULTILINE))
    for name in ("model.json", "calibration.json"):
        every, _, of_masks = rows[name].partition("of a segmentation also")
        assert set(re.findall(r"`(\w+)`", every)) == set(parts[name])
        if name == "model.json":
            assert set(re.findall(r"`(\w+)`", of_masks)) == {"task", "masks", *Masks((0,), ((0, 0, 0),)).to_json()}
    steps = PAGE.split("### From a picture to probabilities")[1].split("###")[0]
    pictures, series = steps.split("A model of series")
    assert set(parts["preprocessing.json"]) == set(re.findall(r"`(\w+)`", pictures))
    assert SignalPreprocessing(1, 8).to_json().keys() - {"kind"} == set(re.findall(r"`(\w+)`", series))
    assert '"kind": "signals"' in series


def test_the_tolerance_is_the_documented_one():
    assert f"more than {TOLERANCE:g} of the".replace("0.0001", "1e-4") in PAGE.replace("\n", " ")
