"""What networks share: the chain of named parts, gradient checkpointing, checks of the input."""

import copy
import re

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.models._chain import Chain, chosen_size, require_flag, require_fraction


def chain(recompute: tuple[str, ...] = (), smallest: tuple[int, int] | None = (4, 3)) -> Chain:
    block = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
    parts = {"conv1": block, "pool1": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(3, 4)}
    return Chain("toy", parts, input_size=(2, 6, 5), smallest=smallest, recompute=recompute)


def test_features_are_the_parts_in_order() -> None:
    model = chain().eval()
    x = torch.randn(2, 2, 6, 5)
    seen = model.features(x)
    assert list(seen) == ["conv1", "pool1", "flat", "fc", "logits"]
    assert torch.equal(seen["logits"], model(x))
    assert torch.equal(model.fc(model.flat(model.pool1(model.conv1(x)))), seen["fc"])


def test_recomputing_changes_neither_gradients_nor_running_statistics() -> None:
    plain = chain()
    again = chain(recompute=("conv1",))
    again.load_state_dict(copy.deepcopy(plain.state_dict()))
    x = torch.randn(4, 2, 6, 5)
    for model in (plain, again):
        torch.manual_seed(3)
        model(x).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(a, b), name
    assert int(again.get_buffer("conv1.1.num_batches_tracked")) == 1


@pytest.mark.parametrize("shape", [(2, 6, 5), (1, 3, 6, 5), (1, 2, 3, 5), (1, 2, 6, 2)])
def test_unfit_input_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(f"toy: the input {shape} is not N x 2 x H x W of at least 4 x 3")):
        chain()(torch.zeros(shape))


def test_a_fixed_size_is_kept() -> None:
    with pytest.raises(InputError, match=re.escape("toy: the input (1, 2, 7, 5) is not N x 2 x 6 x 5")):
        chain(smallest=None)(torch.zeros(1, 2, 7, 5))
    assert chain(smallest=None)(torch.zeros(0, 2, 6, 5)).shape == (0, 4)


def test_options_are_checked() -> None:
    assert chosen_size("toy", None, (6, 5), (4, 3)) == (6, 5)
    with pytest.raises(InputError, match="toy: takes images of at least 4 x 3, the data gives 8 x 2"):
        chosen_size("toy", (8, 2), (6, 5), (4, 3))
    with pytest.raises(InputError, match="toy: recompute must be true or false, got 1"):
        require_flag("toy", "recompute", 1)
    with pytest.raises(InputError, match=r"toy: dropout must be at least 0 and below 1, got 1\.0"):
        require_fraction("toy", "dropout", 1.0)
