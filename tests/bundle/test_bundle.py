"""Saving and loading: what goes in comes out, what does not fit is refused, and the network computes the same."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sample_bundles import GREY, images, save, state

from striate import bundle, models
from striate.bundle._archive import read_archive, write_archive
from striate.bundle._bundle import PARTS
from striate.data import ClassMap
from striate.data._preprocessing import Preprocessing
from striate.errors import InputError, StriateError
from striate.evaluation import logits_of


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "m.striate")


def replace(path: Path, **parts: bytes) -> Path:
    """Write the bundle again with other parts and a true seal: `model_json=...` is model.json."""
    changed = {**read_archive(path, PARTS), **{name.replace("_", "."): data for name, data in parts.items()}}
    write_archive(path, changed)
    return path


def test_what_goes_in_comes_out(saved):
    loaded = bundle.load(saved)
    assert (loaded.model_name, loaded.model_options) == ("lenet5-modern", {})
    assert loaded.classes == ClassMap(["ant", "bee", "cat", "汇聚"])
    assert loaded.preprocessing == GREY
    assert loaded.temperature == 1.75
    assert loaded.metrics == {"accuracy": 0.5, "per_class": [{"f1": None}]}
    assert loaded.provenance["recipe"] == {"epochs": 3}
    assert (loaded.provenance["data"], loaded.provenance["seed"]) == ("digits", 0)
    assert np.array_equal(loaded.golden_images, images(20))
    assert all(torch.equal(value, loaded.state[name]) for name, value in state().items())


def test_it_says_when_and_with_what_it_was_written(saved):
    written = bundle.load(saved).provenance["bundled"]
    assert set(written) == {"created", "striate", "torch", "numpy", "python", "platform"}
    assert written["created"].endswith("+00:00")
    assert written["torch"] == str(torch.__version__)


@pytest.mark.parametrize(
    ("name", "options", "classes", "preprocessing"),
    [
        ("lenet5", {}, 10, GREY),
        ("lenet5-modern", {}, 2, GREY),
        ("convnet", {"blocks": [[1, 4, 1], [1, 6, 1]], "dense": [5]}, 3, Preprocessing(channels=3, size=(11, 14))),
    ],
)
def test_the_network_is_the_one_that_was_saved(tmp_path, name, options, classes, preprocessing):
    channels, *size = preprocessing.input_size
    torch.manual_seed(1)
    model = models.build(name, classes=classes, channels=channels, size=tuple(size), **options)
    with torch.no_grad():
        model(torch.randn(5, channels, *size))  # moves the statistics of batch normalisation
    save(
        tmp_path / "m.striate",
        model_name=name,
        model_options=options,
        state=model.state_dict(),
        classes=ClassMap([f"c{i}" for i in range(classes)]),
        preprocessing=preprocessing,
        golden_images=images(3, preprocessing),
    )
    loaded = bundle.load(tmp_path / "m.striate")
    expected = logits_of(model, images(3, preprocessing), preprocessing)
    np.testing.assert_allclose(logits_of(loaded.model, images(3, preprocessing), preprocessing), expected, rtol=1e-5)
    np.testing.assert_allclose(loaded.golden_logits, expected, rtol=1e-5)
    assert not loaded.model.training
    assert loaded.model is loaded.model


def test_neither_saving_nor_building_touches_the_random_state(saved):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    save(saved.with_name("n.striate"), state=state_of(saved))
    _ = bundle.load(saved).model
    assert torch.equal(torch.rand(3), expected)


def state_of(path: Path) -> dict[str, torch.Tensor]:
    return bundle.load(path).state


def test_parameters_tensors_of_a_shared_memory_and_strides_are_fine(tmp_path):
    tensors = {name: torch.nn.Parameter(value) for name, value in state().items()}
    name = next(key for key, value in tensors.items() if value.ndim == 2)
    turned = tensors[name].detach().t().contiguous().t()
    assert not turned.is_contiguous()
    path = save(tmp_path / "m.striate", state={**tensors, name: turned})
    assert torch.equal(bundle.load(path).state[name], turned)


def test_the_same_model_makes_the_same_parts(tmp_path):
    one, two = (read_archive(save(tmp_path / name), PARTS) for name in ("a", "b"))
    assert {name for name in PARTS if one[name] != two[name]} <= {"provenance.json"}  # it holds the time


def test_no_part_is_a_pickle(saved):
    with zipfile.ZipFile(saved) as archive:
        for name in archive.namelist():
            assert name.endswith((".json", ".safetensors", ".txt"))
            assert b"\x80\x04" not in archive.read(name)[:2]


def test_flipped_bytes_in_a_whole_bundle_are_detected(saved, tmp_path):
    data, changed = saved.read_bytes(), tmp_path / "changed.striate"
    positions = {*range(0, len(data), len(data) // 300), *range(len(data) - 30, len(data))}
    for position in positions:
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        changed.write_bytes(flipped)
        with pytest.raises(InputError, match=r"the bundle is damaged|not a Striate bundle"):
            bundle.load(changed)


def test_errors_name_the_tensors(tmp_path):
    good = state()
    first, *_, last = good
    with pytest.raises(InputError, match=f"the weights are not those of the network 'lenet5-modern': lacks '{last}'"):
        save(tmp_path / "m", state={key: value for key, value in good.items() if key != last})
    with pytest.raises(InputError, match="has 'extra', which the network has not"):
        save(tmp_path / "m", state={**good, "extra": torch.zeros(1)})
    with pytest.raises(InputError, match=rf"has '{first}' as \(1,\) instead of \(6, 1, 5, 5\)"):
        save(tmp_path / "m", state={**good, first: torch.zeros(1)})
    with pytest.raises(InputError, match=r"lacks .*; lacks .*; lacks .* \(and \d+ more differences\)"):
        save(tmp_path / "m", state={})
    assert not (tmp_path / "m").exists()


def test_errors_of_a_loaded_bundle_come_when_the_network_is_asked_for(saved):
    tensors = {**state_of(saved)}
    name = tensors.popitem()[0]
    loaded = bundle.load(replace(saved, weights_safetensors=safetensors.torch.save(tensors)))
    with pytest.raises(InputError, match=rf"m\.striate: the weights are not those of the network .*: lacks '{name}'"):
        _ = loaded.model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "bundle: temperature must be a finite number above 0, got 0.0"),
        ({"temperature": float("inf")}, "bundle: temperature must be a finite number above 0, got inf"),
        ({"golden_images": images(0)}, "bundle: golden_images is empty, give at least one picture"),
        ({"golden_images": images(2)[:, :, :9]}, r"pictures must be uint8 N x 1 x 28 x 28 .*got uint8 \(2, 1, 9, 28\)"),
        ({"golden_images": images(2) / 255}, "pictures must be uint8 .* got float64"),
        ({"metrics": {"nll": float("nan")}}, r"bundle: metrics\.json must be made of JSON values without NaN"),
        ({"provenance": {"path": Path()}}, r"bundle: provenance\.json must be made of JSON values without NaN"),
        ({"model_options": {"width": 3}}, "bundle: the network cannot be built .*no option 'width'"),
        ({"model_options": {"classes": 3}}, "bundle: the network cannot be built"),
        ({"preprocessing": Preprocessing(channels=1, size=(28, 28))}, "bundle: the network cannot be built"),
        ({"model_name": "lenet6"}, "bundle: the network cannot be built .*did you mean 'lenet5'"),
    ],
)
def test_what_does_not_fit_together_is_not_saved(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        save(tmp_path / "m.striate", **{"state": state(), **changes})
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_model_is_not_saved(tmp_path):
    tensors = state()
    next(iter(tensors.values())).fill_(float("nan"))
    with pytest.raises(StriateError, match="outputs are not finite, it has diverged; there is nothing to ship"):
        save(tmp_path / "m.striate", state=tensors)


def golden(**tensors: torch.Tensor) -> bytes:
    return safetensors.torch.save(
        {"images": torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "logits": torch.zeros(2, 4), **tensors}
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"labels_json": b"{"}, r"the bundle's labels\.json is not valid JSON"),
        ({"labels_json": b"{}"}, "parts do not fit together .class map: expected a list of names"),
        ({"labels_json": b'["a", "b"]'}, r"do not fit together .golden logits float32 \(20, 4\) for 20 x 2 classes"),
        ({"labels_json": b'["a", "a"]'}, "each class must be named once"),
        ({"preprocessing_json": b"[]"}, "do not fit together"),
        ({"preprocessing_json": b'{"channels": 1}'}, "not a description this version understands"),
        ({"preprocessing_json": b'{"channels": 1, "size": [28, 29]}'}, r"golden images uint8 \(20, 1, 28, 28\)"),
        ({"preprocessing_json": b'{"channels": 1, "size": 3}'}, "do not fit together"),
        ({"calibration_json": b"{}"}, "do not fit together .'temperature'"),
        ({"calibration_json": b'{"temperature": -1}'}, r"do not fit together .temperature -1\.0"),
        ({"calibration_json": b'{"temperature": NaN}'}, "do not fit together .temperature nan"),
        ({"model_json": b"3"}, "do not fit together"),
        ({"model_json": b'{"name": "lenet5", "options": []}'}, r"model 'lenet5' with options \[\]"),
        ({"weights_safetensors": b""}, "do not fit together"),
        ({"weights_safetensors": b"\xff" * 100}, "do not fit together"),
        ({"golden_safetensors": safetensors.torch.save({})}, "do not fit together .'images'"),
        ({"golden_safetensors": golden(logits=torch.full((2, 4), float("inf")))}, "golden logits that are not finite"),
        ({"golden_safetensors": golden(images=torch.zeros(2, 1, 28, 28))}, "golden images float32"),
    ],
)
def test_forged_parts_are_refused_in_one_sentence(saved, parts, message):
    with pytest.raises(InputError, match=message) as caught:
        bundle.load(replace(saved, **parts))
    assert str(caught.value).startswith(f"{saved}: the bundle's ")
    assert "\n" not in str(caught.value)


def test_a_network_this_version_does_not_know_is_said(saved):
    loaded = bundle.load(replace(saved, model_json=b'{"name": "lenet6", "options": {}}'))
    with pytest.raises(
        InputError, match=r"m\.striate: the network cannot be built \(unknown model 'lenet6'; did you mean"
    ):
        _ = loaded.model


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StriateError, match=r"m\.striate could not be written"):
        save(tmp_path / "file" / "m.striate")


def test_the_readme_explains_the_file(saved):
    text = read_archive(saved, PARTS)["README.txt"].decode()
    assert text.startswith("This is a trained classifier, 'lenet5-modern' with 4 classes")
    assert all(name in text for name in PARTS - {"README.txt", "model.json"})


def test_labels_and_model_are_plain_json(saved):
    parts = read_archive(saved, PARTS)
    assert json.loads(parts["labels.json"]) == ["ant", "bee", "cat", "汇聚"]
    assert json.loads(parts["model.json"]) == {"name": "lenet5-modern", "options": {}, "input_size": [1, 32, 32]}
