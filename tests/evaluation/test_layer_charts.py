"""Heat maps and filter pictures, read back from their pixels."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.evaluation import write_report
from striate.evaluation._layer_charts import filters_picture, heat_map
from striate.insight import Filters


def pictures(svg: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int) for data in found]


def test_each_cell_is_a_pixel_and_more_is_lighter() -> None:
    svg = heat_map("Error", ["a", "b"], [0, 1, 2], [[1e-4, 1e-3, 1e-2], [1e-1, None, 0.0]], log=True)
    cells, legend = pictures(svg)
    assert cells.shape == (2, 3, 3)
    light = cells.sum(-1)
    assert light[0, 0] < light[0, 1] < light[0, 2] < light[1, 0]
    assert cells[1, 1].tolist() == cells[1, 2].tolist() == [150, 150, 150], "None and 0 have no place on the scale"
    assert (np.diff(legend.sum(-1)) >= 0).all(), "the scale rises in lightness"
    assert cells[0, 0].tolist() == legend[0, 0].tolist()
    assert cells[1, 0].tolist() == legend[0, -1].tolist()


def test_a_part_is_on_a_scale_from_none_to_all() -> None:
    cells, legend = pictures(heat_map("Dead", ["a"], [1, 2], [[0.0, 0.5]], log=False))
    assert cells[0, 0].tolist() == legend[0, 0].tolist()
    assert np.abs(cells[0, 1] - legend[0, 31]).max() < 6


def test_a_logarithmic_scale_has_equal_steps() -> None:
    cells, legend = pictures(heat_map("E", ["a"], [0, 1, 2], [[1.0, 10.0, 100.0]], log=True))
    assert np.abs(cells[0, 1] - legend[0, 31]).max() < 6


@pytest.mark.parametrize("values", [[[None]], [[0.0]]])
def test_nothing_to_show_is_no_picture(values: list[list[float | None]]) -> None:
    assert heat_map("E", ["a"], [0], values, log=True) == ""


def test_deep_networks_and_long_runs_keep_their_size() -> None:
    svg = heat_map("E", [f"layer{k}" for k in range(400)], range(2000), [[1.0] * 2000] * 400, log=True)
    height = int(re.findall(r'viewBox="0 0 380 (\d+)"', svg)[0])
    assert height < 720
    assert len(svg) < 50_000
    assert pictures(svg)[0].shape[1] <= 200


def test_filters_are_side_by_side_with_zero_in_the_middle() -> None:
    kernels = np.zeros((3, 1, 2, 2))
    kernels[0, 0] = [[1.0, -1.0], [0.5, 0.0]]
    kernels[1] = 7.0
    (image,) = pictures(filters_picture(kernels))
    assert image[1, 1].tolist() == [255, 255, 255]
    assert image[1, 5].tolist() == [0, 0, 0]
    assert abs(image[5, 5, 0] - 128) <= 1
    assert abs(image[5, 1, 0] - 191) <= 1
    assert image[0, 0].tolist() == image[1, 9].tolist(), "the gap"
    assert image[1, 10].tolist() == [255, 255, 255]


def test_filters_of_colours_keep_them() -> None:
    kernels = np.zeros((1, 3, 1, 1))
    kernels[0, :, 0, 0] = [1.0, 0.0, -1.0]
    (image,) = pictures(filters_picture(kernels))
    assert image[1, 1].tolist() == pytest.approx([255, 128, 0], abs=1)


def test_the_report_of_a_run_that_was_not_measured(tmp_path: Path) -> None:
    hostile = "<script>"
    row = {"epoch": 0, "layers": [hostile, "b"], "error": [0.5, 2.0], "gradient": [None, 0.1], "dead": [0.25, 0.0]}
    filters = Filters(hostile, np.ones((2, 3, 3, 3)))
    write_report(
        tmp_path / "r.html",
        title="t",
        evaluation=None,
        note=f"Diverged {hostile}",
        history=[],
        facts={},
        cost={"Parameters": "12"},
        error_terms=[row],
        filters=filters,
        uses=[
            {
                "when": "2026",
                "command": "train",
                "data": hostile,
                "own": False,
                "weights": "w",
                "correct": 9,
                "total": 10,
            }
        ],
    )
    html = (tmp_path / "r.html").read_text()
    assert "<script>" not in html
    assert "Diverged &lt;script&gt;" in html
    assert "the first layer's error term is 0.25 times the last" in html
    assert "not finite" in html
    assert "25.00" in html
    assert "59.58" in html, "the Wilson interval of 9 of 10 is 59.58 to 98.21 %"
    assert "(not the run's own)" in html
    assert 'id="classes"' not in html
    assert 'id="cost"' in html
