"""From a picture to input: the canvas, its middle, and what is refused."""

import pytest
import torch

from pictures import write_photos
from striate.data import DataOptions, Preprocessing, open_data, open_for_evaluation
from striate.errors import InputError


def images(preprocessing, n=2):
    shape = (n, preprocessing.channels, *preprocessing.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("border", "crop_to", "top", "left"), [(0, (4, 4), 1, 2), (1, (8, 9), 0, 0), (2, (5, 6), 2, 3)]
)
def test_the_network_sees_the_middle_of_the_canvas(border, crop_to, top, left):
    whole = Preprocessing(1, (6, 8), border=border, mean=(0.4,), std=(0.2,))
    part = Preprocessing(1, (6, 8), border=border, mean=(0.4,), std=(0.2,), crop_to=crop_to)
    x = images(part)
    assert part.input_size == (1, *crop_to)
    assert part.canvas(x).shape[2:] == (6 + 2 * border, 8 + 2 * border), "training takes windows anywhere in it"
    assert torch.equal(part(x), whole(x)[:, :, top : top + crop_to[0], left : left + crop_to[1]])


def test_older_descriptions_have_no_crop():
    values = Preprocessing(3, (32, 32)).to_json()
    assert Preprocessing.from_json(values) == Preprocessing(3, (32, 32))
    del values["crop_to"]
    assert Preprocessing.from_json(values).crop_to is None
    assert Preprocessing.from_json({**values, "crop_to": [28, 28]}).crop_to == (28, 28)


@pytest.mark.parametrize("crop_to", [(11, 8), (8, 13), (0, 4), (4,)])
def test_refuses_what_is_larger_than_the_canvas(crop_to):
    with pytest.raises(InputError) as caught:
        Preprocessing(1, (8, 10), border=1, crop_to=crop_to)
    assert str(caught.value) == (
        "preprocessing: crop_to must be (height, width) of 1 x 1 to 10 x 12, the size with its border, or none, "
        f"got {crop_to}"
    )


def test_evaluation_takes_the_models_crop(tmp_path):
    options = DataOptions(channels=3, size=(12, 12), crop_to=(10, 8))
    write_photos(tmp_path / "photos")
    for where in ("digits", tmp_path / "photos"):
        data = open_data(where, options, seed=0)
        assert data.preprocessing.crop_to == (10, 8)
        judged = open_for_evaluation(where, data.preprocessing, data.classes, seed=0)
        assert judged.preprocessing == data.preprocessing
