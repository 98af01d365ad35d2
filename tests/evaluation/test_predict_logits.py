"""Logits of a split: order, modes, devices' types, batch sizes, empty splits."""

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import ArraySplit, FolderSplit, Preprocessing
from striate.errors import InputError
from striate.evaluation import logits_of, predict_logits

GREY = Preprocessing(channels=1, size=(5, 4), border=1, mean=(0.5,), std=(0.25,))
RGB = Preprocessing(channels=3, size=(5, 4))


def pictures(n: int, preprocessing: Preprocessing = GREY) -> ArraySplit:
    shape = (n, preprocessing.channels, *preprocessing.size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return ArraySplit([f"s{i}" for i in range(n)], np.zeros(n, dtype=np.int64), images)


def network(preprocessing: Preprocessing = GREY, classes: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    channels, height, width = preprocessing.input_size
    return torch.nn.Sequential(
        torch.nn.BatchNorm2d(channels),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(channels * height * width, classes),
    )


@pytest.mark.parametrize("preprocessing", [GREY, RGB])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 8, 100])
def test_logits_are_the_models_whatever_the_batch_size(preprocessing, batch_size):
    model, split = network(preprocessing).eval(), pictures(7, preprocessing)
    expected = torch.stack([model(preprocessing(torch.from_numpy(image[None])))[0] for image in split.images])
    logits = predict_logits(model, split, preprocessing, batch_size=batch_size)
    assert logits.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(logits), expected.detach())


def test_files_give_the_same_as_arrays(tmp_path):
    split = pictures(7)
    for i, picture in enumerate(split.images):
        Image.fromarray(picture[0]).save(tmp_path / f"{i}.png")
    files = FolderSplit(tmp_path, [f"{i}.png" for i in range(7)], np.zeros(7, dtype=np.int64), GREY, [b""] * 7)
    expected = predict_logits(network(), split, GREY, batch_size=3)
    assert np.array_equal(predict_logits(network(), files, GREY, batch_size=3), expected)


def test_an_empty_split_gives_no_rows_of_k():
    assert predict_logits(network(), pictures(0), GREY).shape == (0, 3)


def test_modes_come_back_as_they_were_for_each_module():
    model = network().train()
    model[0].eval()  # a batch norm that the user has frozen
    predict_logits(model, pictures(3), GREY)
    assert [module.training for module in model.modules()] == [True, False, True, True, True]


def test_modes_come_back_after_an_error_and_the_statistics_do_not_move():
    model = network().train()
    before = model[0].running_mean.clone()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        predict_logits(model, pictures(3), Preprocessing(channels=1, size=(5, 4)))
    assert model.training
    predict_logits(model, pictures(3), GREY)
    assert torch.equal(model[0].running_mean, before)


def test_dropout_is_off():
    model = network().train()
    assert np.array_equal(predict_logits(model, pictures(5), GREY), predict_logits(model, pictures(5), GREY))


def test_models_in_float64_and_without_parameters():
    assert predict_logits(network().double(), pictures(2), GREY).dtype == np.float32
    assert predict_logits(torch.nn.Flatten(), pictures(2), GREY).shape == (2, 42)


def test_views_and_read_only_arrays_are_fine():
    view = pictures(6).images[:, :, ::-1]
    view.flags.writeable = False
    expected = logits_of(network(), np.ascontiguousarray(view), GREY)
    assert np.array_equal(logits_of(network(), view, GREY), expected)


def test_progress_counts_to_the_end():
    seen: list[tuple[int, int, str]] = []
    predict_logits(network(), pictures(7), GREY, batch_size=3, progress=lambda *call: seen.append(call))
    assert seen == [(3, 7, "evaluating"), (6, 7, "evaluating"), (7, 7, "evaluating")]


def test_no_gradient_is_kept():
    model = network()
    predict_logits(model, pictures(2), GREY)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_cannot_work_is_said():
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        predict_logits(network(), pictures(2), GREY, batch_size=0)
    with pytest.raises(
        InputError, match=r"pictures must be uint8 N x 3 x 5 x 4 as the preprocessing says, got uint8 \(2, 1"
    ):
        predict_logits(network(), pictures(2), RGB)
    with pytest.raises(InputError, match=r"must return logits 2 x K for 2 pictures, got \(2, 1, 7, 6\)"):
        predict_logits(torch.nn.Identity(), pictures(2), GREY)
