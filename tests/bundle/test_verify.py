"""Golden pictures: a sound bundle passes anywhere, another network does not."""

import json

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from sample_bundles import images, save, state

from striate.bundle import load, verify
from striate.bundle._archive import read_archive, write_archive
from striate.bundle._bundle import PARTS
from striate.bundle._verify import TOLERANCE, Verification
from striate.errors import InputError


@pytest.fixture
def saved(tmp_path):
    return save(tmp_path / "m.striate")


def replace(path, name, data):
    write_archive(path, {**read_archive(path, PARTS), name: data})


def test_a_sound_bundle_passes(saved):
    seen = []
    result = verify(saved, progress=lambda *call: seen.append(call))
    assert result.passed
    assert (result.images, result.agreeing, result.tolerance) == (20, 20, TOLERANCE)
    assert result.worst_relative < 1e-6
    assert seen == [(16, 20, "verifying"), (20, 20, "verifying")]
    assert result.as_text().startswith(f"{saved}: verified\n")
    assert "20 of 20 predicted as when it was saved" in result.as_text()


def test_one_golden_picture_is_enough(tmp_path):
    assert verify(save(tmp_path / "one", golden_images=images(1))).passed


def test_other_threads_pass(saved):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if threads == 1 else 1)
        assert verify(saved).passed
    finally:
        torch.set_num_threads(threads)


def test_other_weights_fail_even_under_a_true_seal(saved):
    replace(saved, "weights.safetensors", safetensors.torch.save(state(seed=1)))
    result = verify(saved)
    assert not result.passed
    assert result.worst_relative > 100 * TOLERANCE
    assert result.as_text().startswith(f"{saved}: FAILED\n")


def test_one_changed_weight_fails(saved):
    tensors = load(saved).state
    last = next(key for key in tensors if key == "output.bias")
    tensors[last][2] += 0.01
    replace(saved, "weights.safetensors", safetensors.torch.save(tensors))
    result = verify(saved)
    assert not result.passed
    assert result.worst_absolute == pytest.approx(0.01, rel=1e-3)


def test_errors_are_measured_against_the_largest_logit(saved):
    loaded = load(saved)
    logits = loaded.golden_logits.copy()
    logits[3, 1] += 2e-4 * np.abs(logits).max()
    replace(saved, "golden.safetensors", safetensors.numpy.save({"images": loaded.golden_images, "logits": logits}))
    assert verify(saved).worst_relative == pytest.approx(2e-4, rel=0.01)
    assert not verify(saved).passed


def test_weights_that_are_no_numbers_fail(saved):
    tensors = {name: torch.full_like(value, float("nan")) for name, value in load(saved).state.items()}
    replace(saved, "weights.safetensors", safetensors.torch.save(tensors))
    result = verify(saved)
    assert result.worst_relative == float("inf")
    assert not result.passed
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert (values["worst_relative"], values["passed"], values["images"]) == (None, False, 20)


def test_logits_that_are_all_zero_are_compared_absolutely(saved):
    tensors = {name: torch.zeros_like(value) for name, value in load(saved).state.items()}
    path = save(saved.with_name("zero"), state=tensors)
    assert verify(path).worst_relative == 0.0
    assert verify(path).passed


def test_a_damaged_file_is_an_error_not_a_failed_verification(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(InputError, match="the bundle is damaged"):
        verify(saved)


def test_the_edge_of_the_tolerance(tmp_path):
    def result(relative: float) -> Verification:
        return Verification(tmp_path, 1, 1, 1, 0.0, relative, TOLERANCE)

    assert result(TOLERANCE).passed
    assert not result(TOLERANCE * 1.01).passed
    assert not result(float("nan")).passed
