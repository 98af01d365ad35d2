"""Predictions from files: calibrated, in order, in constant memory, undisturbed by what cannot be read."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_bundles import save

from striate import bundle
from striate.bundle import Bundle, Prediction
from striate.data import decode_image
from striate.errors import InputError
from striate.ops.impl.native.library import library
from striate.runtime import RuntimeOptions, choose


@pytest.fixture
def loaded(tmp_path: Path) -> Bundle:
    return bundle.load(save(tmp_path / "m.striate"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(1)
    for i in range(7):
        Image.fromarray(generator.integers(0, 256, (28 + i, 40), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "3.png").write_bytes(b"no picture")
    (folder / "5.png").write_bytes((folder / "4.png").read_bytes()[:100])
    return folder


def expected(loaded: Bundle, path: Path) -> np.ndarray:
    inputs = loaded.preprocessing(torch.tensor(decode_image(path, loaded.preprocessing))[None])
    return torch.softmax(loaded.model(inputs)[0].double() / loaded.temperature, 0).detach().numpy()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_predictions_are_the_models_calibrated_and_in_order(loaded, photos, batch_size):
    found = list(loaded.predict(photos, batch_size=batch_size, threads=2))
    assert [p.path.name for p in found] == [f"{i}.png" for i in range(7)]
    for prediction in found:
        if prediction.path.name in {"3.png", "5.png"}:
            continue
        chances = expected(loaded, prediction.path)
        order = np.argsort(-chances)
        assert prediction.error is None
        assert [name for name, _ in prediction.top] == [loaded.classes.names[k] for k in order[:3]]
        assert [p for _, p in prediction.top] == pytest.approx(chances[order[:3]], rel=1e-4)
        assert (prediction.label, prediction.probability) == prediction.top[0]


def test_the_runtime_says_what_computes(loaded, photos):
    """bfloat16 is the network prepared for it; float32 the one prepared for that; exact the network itself."""
    wanted = {"exact": "model", "high": "prepared", "bf16": "prepared_bf16"}
    certain = {}
    for precision, name in wanted.items():
        options = RuntimeOptions(precision, threads=1, small=False, native=True if library() else None)
        with choose(options).applied():
            if library() or precision == "exact":
                assert loaded.network() is getattr(loaded, name)
            certain[precision] = [p.probability for p in loaded.predict(photos) if p.error is None]
    assert loaded.network() is loaded.prepared
    assert certain["bf16"] != certain["high"]
    assert certain["bf16"] == pytest.approx(certain["high"], rel=0.02)


def test_what_cannot_be_read_is_a_prediction_with_the_reason(loaded, photos):
    found = {p.path.name: p for p in loaded.predict([photos, photos / "gone.png"], batch_size=2)}
    for name, reason in (
        ("3.png", "not a JPEG, PNG, WebP, BMP, GIF, TIFF or PPM picture"),
        ("5.png", "the picture is damaged or incomplete"),
        ("gone.png", "the file cannot be read (No such file or directory)"),
    ):
        assert found[name][1:4] == (None, None, [])
        assert reason in str(found[name].error)
    assert sum(p.error is None for p in found.values()) == 5


def test_only_unreadable_pictures_and_a_single_one(loaded, photos):
    assert [p.error is None for p in loaded.predict([photos / "3.png"] * 3, batch_size=2)] == [False] * 3
    assert [p.error for p in loaded.predict(str(photos / "0.png"))] == [None]


def test_top_is_limited_by_the_classes_and_sums_to_one(loaded, photos):
    (prediction,) = loaded.predict(photos / "0.png", top=99)
    assert len(prediction.top) == 4
    assert sum(p for _, p in prediction.top) == pytest.approx(1)
    (prediction,) = loaded.predict(photos / "0.png", top=1)
    assert len(prediction.top) == 1


def test_bad_arguments_are_refused_at_once(loaded, photos):
    for arguments, message in (
        ({"top": 0}, "predict: top must be 1 or more, got 0"),
        ({"batch_size": 0}, "predict: batch_size must be 1 or more, got 0"),
        ({"threads": 0}, "predict: threads must be 1 or more, got 0"),
    ):
        with pytest.raises(InputError, match=message):
            loaded.predict(photos, **arguments)
    with pytest.raises(InputError, match="the pattern has no pictures"):
        loaded.predict(f"{photos}/*.bmp")


def test_no_more_than_two_batches_are_held(loaded, photos, monkeypatch):
    alive: list[int] = []
    most = 0

    def decode(path: Path, preprocessing: object) -> np.ndarray:
        nonlocal most
        picture = np.zeros((1, 28, 28), np.uint8)
        alive.append(1)
        weakref.finalize(picture, alive.pop)
        most = max(most, len(alive))
        return picture

    monkeypatch.setattr("striate.bundle._predict.decode_image", decode)
    assert len(list(loaded.predict([photos / "0.png"] * 100, batch_size=5, threads=2))) == 100
    assert 5 < most <= 10 + 1  # one more may be on its way out


def test_stopping_early_leaves_no_thread(loaded, photos):
    import threading

    predictions = loaded.predict([photos / "0.png"] * 50, batch_size=4)
    assert isinstance(next(predictions), Prediction)
    predictions.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_a_defect_of_the_program_is_not_hidden_as_an_unreadable_picture(loaded, photos, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("striate.bundle._predict.decode_image", broken)
    with pytest.raises(ZeroDivisionError):
        list(loaded.predict(photos))
