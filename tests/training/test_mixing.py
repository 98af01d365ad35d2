"""MixUp and CutMix against their papers' definitions, picture by picture, and as functions of seed, epoch and keys."""

import numpy as np
import pytest
import torch
from scipy.stats import beta as beta_distribution
from scipy.stats import kstest

from striate.data import sample_keys, uniform
from striate.errors import InputError
from striate.training import MixingOptions, named_recipe
from striate.training._losses import make_loss
from striate.training._mixing import beta, mix, partners
from striate.training._recipe import LossOptions

SMOOTH = "loss.label_smoothing=0"
COUNT, CLASSES, SIZE = 40, 4, (9, 13)
KEYS = sample_keys([f"picture {k}" for k in range(COUNT)])
LABELS = torch.arange(COUNT) % CLASSES
# every pixel of picture k is k + 1, so that a mixed picture tells what it is made of
PICTURES = torch.arange(1.0, COUNT + 1)[:, None, None, None].expand(-1, 2, *SIZE).contiguous()


def mixed(options: MixingOptions, rows: slice = slice(None), epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return mix(PICTURES[rows], LABELS[rows], KEYS[rows], classes=CLASSES, seed=0, epoch=epoch, options=options)


def targets(shares: np.ndarray, partner: np.ndarray) -> np.ndarray:
    expected = np.zeros((COUNT, CLASSES))
    for k in range(COUNT):
        expected[k, LABELS[k]] += shares[k]
        expected[k, LABELS[partner[k]]] += 1 - shares[k]
    return expected


@pytest.mark.parametrize("epoch", range(5))
def test_everybody_has_one_partner_and_is_one(epoch: int) -> None:
    partner = partners(KEYS, seed=0, epoch=epoch)
    assert sorted(partner) == list(range(COUNT))
    assert (partner != np.arange(COUNT)).all()
    assert (partner != partners(KEYS, seed=0, epoch=epoch + 1)).any()


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    keys = sample_keys([str(k) for k in range(4000)])
    shares = beta(alpha, uniform(0, 0, keys, "test"))
    assert kstest(shares, beta_distribution(alpha, alpha).cdf).pvalue > 0.01
    assert ((shares >= 0) & (shares <= 1)).all()


def test_mixup_is_the_papers_sum() -> None:
    images, shares_of_classes = mixed(MixingOptions(mixup=0.4))
    partner = partners(KEYS, seed=0, epoch=0)
    lam = beta_distribution(0.4, 0.4).ppf(uniform(0, 0, KEYS, "mix/mixup"))
    assert len({round(x, 6) for x in lam}) == COUNT, "one share per picture"
    expected = [lam[k] * (k + 1) + (1 - lam[k]) * (partner[k] + 1) for k in range(COUNT)]
    for k in range(COUNT):
        np.testing.assert_allclose(images[k].numpy(), expected[k], rtol=1e-5)
    np.testing.assert_allclose(shares_of_classes.numpy(), targets(lam, partner), atol=1e-6)


def test_cutmix_is_a_rectangle_of_the_partner_and_labels_in_the_proportion_of_the_pixels() -> None:
    images, shares_of_classes = mixed(MixingOptions(cutmix=1.0))
    partner = partners(KEYS, seed=0, epoch=0)
    shares = np.zeros(COUNT)
    lam = beta_distribution(1, 1).ppf(uniform(0, 0, KEYS, "mix/cutmix"))
    whole = 0
    for k in range(COUNT):
        picture = images[k].numpy()
        assert set(np.unique(picture)) <= {k + 1, partner[k] + 1}
        assert (picture[0] == picture[1]).all(), "all channels are cut alike"
        theirs = picture[0] == partner[k] + 1
        rows, columns = theirs.any(1), theirs.any(0)
        assert (theirs == rows[:, None] & columns).all()
        for axis in (rows, columns):
            assert np.diff(np.flatnonzero(axis)).max(initial=1) == 1, "a rectangle has no gaps"
        sides = [int(n * np.sqrt(1 - lam[k])) for n in SIZE]
        assert rows.sum() <= sides[0]
        assert columns.sum() <= sides[1]
        whole += [rows.sum(), columns.sum()] == sides
        shares[k] = 1 - theirs.mean()
    assert 5 < whole < COUNT, "some rectangles are cut off at the border, some are whole"
    np.testing.assert_allclose(shares_of_classes.numpy(), targets(shares, partner), atol=1e-6)


def test_with_both_each_picture_is_mixed_in_one_way() -> None:
    images, both = mixed(MixingOptions(mixup=0.4, cutmix=1.0))
    up, up_targets = mixed(MixingOptions(mixup=0.4))
    cut, cut_targets = mixed(MixingOptions(cutmix=1.0))
    ways = [
        "up" if torch.equal(images[k], up[k]) else "cut" if torch.equal(images[k], cut[k]) else "none"
        for k in range(COUNT)
    ]
    assert set(ways) == {"up", "cut"}
    assert 10 < ways.count("up") < 30
    for k, way in enumerate(ways):
        assert torch.equal(both[k], (up_targets if way == "up" else cut_targets)[k])


def test_it_is_a_function_of_seed_epoch_and_keys_whatever_the_order_of_the_batch() -> None:
    options = MixingOptions(mixup=1.0, cutmix=1.0)
    torch.manual_seed(1)
    one = mixed(options)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(one, mixed(options), strict=True))
    order = torch.randperm(COUNT)
    images, shares = mix(
        PICTURES[order], LABELS[order], KEYS[order.numpy()], classes=CLASSES, seed=0, epoch=0, options=options
    )
    assert torch.equal(images, one[0][order])
    assert torch.equal(shares, one[1][order])
    assert not torch.equal(mixed(options, epoch=1)[0], one[0])


def test_a_batch_of_one_is_mixed_with_itself() -> None:
    images, shares = mixed(MixingOptions(mixup=1.0, cutmix=1.0), slice(2, 3))
    torch.testing.assert_close(images, PICTURES[2:3])
    torch.testing.assert_close(shares, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 0.2, 3.0, 0.0]])
def test_the_loss_of_shares_is_the_sum_of_the_labels_losses(smoothing: float, weights: list[float] | None) -> None:
    """lam loss(a) + (1 - lam) loss(b), as in the papers' code."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(COUNT, CLASSES, generator=generator)
    lam = torch.rand(COUNT, generator=generator)
    other = LABELS[torch.randperm(COUNT, generator=generator)]
    loss = make_loss(LossOptions(label_smoothing=smoothing), weights)
    shares = torch.zeros(COUNT, CLASSES)
    for k in range(COUNT):
        shares[k, LABELS[k]] += lam[k]
        shares[k, other[k]] += 1 - lam[k]
    each = [
        lam[k] * loss(logits[k : k + 1], LABELS[k : k + 1]) + (1 - lam[k]) * loss(logits[k : k + 1], other[k : k + 1])
        for k in range(COUNT)
    ]
    torch.testing.assert_close(loss(logits, shares), torch.stack(each).mean())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["mixing.mixup=-1"], "mixing.mixup=-1.0: must be 0 or more"),
        (
            ["mixing.cutmix=0.5", "loss.name=rbf_map", SMOOTH],
            "mixing.cutmix=0.5: must be 0 with an RBF loss",
        ),
        (
            ["mixing.mixup=0.5", "loss.name=rbf_mse", SMOOTH],
            "mixing.mixup=0.5: must be 0 with an RBF loss",
        ),
        (["mixing.mixup=0.5", "data.task=segmentation"], "mixing.mixup=0.5: must be 0 for segmentation"),
        (["mixing.mixup=yes"], "--set mixing.mixup=yes: expected a number"),
    ],
)
def test_what_cannot_be_mixed_is_refused(settings: list[str], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        named_recipe("digits-convnet").set(settings)
    assert str(caught.value) == sentence
