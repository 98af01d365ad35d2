"""What a step computes against its definition: parts, mixed pictures, weighted classes, clipping, averages."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pictures import write_photos
from striate.data import draws, open_data
from striate.errors import Diverged, StriateError
from striate.models import build
from striate.runtime import Runtime
from striate.training import Listener, LossOptions, ModelOptions, OptimizerOptions, Recipe, fit, named_recipe
from striate.training import _checkpoint as checkpoint
from striate.training._average import WeightAverage
from striate.training._class_weights import class_weights
from striate.training._loop import Trainer, seed_of_step
from striate.training._mixing import partners
from striate.training._schedule import factor

NET = ModelOptions("convnet", {"blocks": [[1, 4, 2], [1, 6, 1]], "norm": "none"})
BASE: Recipe = named_recipe("digits-convnet").replace(
    model=NET,
    loss=LossOptions(),
    optimizer=OptimizerOptions(lr=0.05),
    augmentation=named_recipe("digits-convnet").augmentation.__class__(),
    batch_size=50,
    epochs=1,
    ema=0.0,
)


@pytest.fixture(scope="module")
def digits() -> Any:
    return open_data("digits", BASE.data, seed=0)


def trainer(recipe: Recipe, data: Any, runtime: Runtime | None = None) -> Trainer:
    run: Any = SimpleNamespace(recipe=recipe, device="cpu", runtime=runtime or Runtime())
    return Trainer(run, data, Listener(), lambda: False)


def one_step(recipe: Recipe, data: Any, size: int | None = None) -> Trainer:
    """A step on the first pictures of the epoch."""
    made = trainer(recipe, data)
    rows, keys = draws(made.train_split, recipe.sampling, recipe.seed, 0)
    rows = rows[: size or recipe.batch_size]
    images, targets = made.train_split.load(rows), made.train_split.targets(rows)
    made.step(keys[: len(rows)], torch.from_numpy(images), torch.from_numpy(targets))
    return made


def state(made: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.model.state_dict().items()}


@pytest.mark.parametrize("settings", [[], ["loss.class_weights=balanced"], ["mixing.mixup=0.4", "mixing.cutmix=1"]])
@pytest.mark.parametrize("micro", [1, 7, 25, 49])
def test_a_step_in_parts_is_the_same_step(digits: Any, micro: int, settings: list[str]) -> None:
    recipe = BASE.set([*settings, "optimizer.clip_norm=0.5"])
    whole, parts = one_step(recipe, digits), one_step(recipe.replace(micro_batch=micro), digits)
    for name, value in state(whole).items():
        torch.testing.assert_close(state(parts)[name], value, rtol=1e-4, atol=1e-6, msg=name)
    for name in ("correct", "counted", "seen", "step"):
        assert getattr(whole.position, name) == getattr(parts.position, name)
    assert parts.position.loss_sum == pytest.approx(whole.position.loss_sum, rel=1e-5)


@pytest.mark.parametrize(
    ("size", "micro", "sizes"), [(50, 0, [50]), (50, 20, [17, 17, 16]), (50, 60, [50]), (1, 1, [1])]
)
def test_parts_are_as_equal_as_can_be(digits: Any, size: int, micro: int, sizes: list[int]) -> None:
    seen: list[int] = []
    made = trainer(BASE.replace(micro_batch=micro), digits)
    made.model.register_forward_hook(lambda _, inputs, output: seen.append(len(inputs[0])))
    rows = np.arange(size)
    images, targets = made.train_split.load(rows), made.train_split.targets(rows)
    made.step(made.keys[rows], torch.from_numpy(images), torch.from_numpy(targets))
    assert seen == sizes


def test_parts_of_one_picture_and_batch_normalisation(digits: Any) -> None:
    made = trainer(BASE.replace(micro_batch=1), digits)
    made.model = made.network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10), nn.BatchNorm1d(10))
    with pytest.raises(StriateError, match=r"normalisation needs more than one value .* --set micro_batch=2"):
        made.outputs_and_loss(torch.zeros(1, 1, 32, 32), torch.tensor([0]))


def test_mixed_pictures_enter_the_network_and_the_accuracy_is_of_the_larger_part(digits: Any) -> None:
    """The loop's own inputs and targets, recomputed from the epoch's draws: partners are of the same batch."""
    recipe = BASE.set(["mixing.mixup=1"])
    made = trainer(recipe, digits)
    rows, keys = draws(made.train_split, "all", recipe.seed, 0)
    rows, keys = rows[:50], keys[:50]
    images, labels = torch.from_numpy(made.train_split.load(rows)), made.train_split.labels[rows]
    inputs, targets = made.augmented(keys, images, torch.from_numpy(labels))
    plain, _ = trainer(BASE, digits).augmented(keys, images, torch.from_numpy(labels))
    partner = partners(keys, seed=recipe.seed, epoch=0)
    for k in range(50):
        others = targets[k].clone()
        lam = float(targets[k, labels[k]]) if labels[k] != labels[partner[k]] else None
        others[labels[k]] = others[labels[partner[k]]] = 0
        assert others.sum() == 0
        if lam is not None:
            torch.testing.assert_close(inputs[k], lam * plain[k] + (1 - lam) * plain[partner[k]], rtol=1e-4, atol=1e-5)
    larger = torch.where(targets[range(50), labels] >= 0.5, torch.from_numpy(labels), torch.from_numpy(labels[partner]))
    outputs = torch.randn(50, 10)
    assert made.task.hits(outputs, targets) == (int((outputs.argmax(1) == larger).sum()), 50)


def test_weights_of_classes_come_from_the_training_split(digits: Any) -> None:
    made = trainer(BASE.set(["loss.class_weights=root"]), digits)
    counts = np.bincount(digits.splits["train"].labels, minlength=10)
    expected = class_weights("root", counts)
    assert expected is not None
    logits, labels = torch.randn(20, 10), torch.arange(20) % 10
    each = -logits.log_softmax(1)[range(20), labels] * torch.tensor(expected, dtype=torch.float32)[labels]
    torch.testing.assert_close(made.task.loss(logits, labels), each.mean())


def test_clipping_scales_the_whole_gradient_to_its_norm(digits: Any) -> None:
    """Plain descent moves the weights by rate x gradient: with clipping the whole movement has length rate x norm."""
    moves = []
    for clip in (0.0, 0.01):
        recipe = BASE.replace(optimizer=OptimizerOptions(lr=0.05, momentum=0.0, clip_norm=clip))
        before, made = state(trainer(recipe, digits)), one_step(recipe, digits)
        moves.append(torch.cat([(before[name] - value).flatten() for name, value in state(made).items()]))
    assert moves[0].norm() > moves[1].norm()
    rate = 0.05 * factor(BASE.schedule, 0.5 / made.batches, 1)
    assert float(moves[1].norm()) == pytest.approx(0.01 * rate, rel=1e-3)
    assert float(moves[0] @ moves[1] / moves[0].norm() / moves[1].norm()) == pytest.approx(1.0, abs=1e-4)


def test_a_gradient_that_is_no_number_stops_before_it_touches_the_weights(digits: Any) -> None:
    made = trainer(BASE.set(["optimizer.clip_norm=1"]), digits)
    next(made.model.parameters()).register_hook(lambda gradient: gradient * float("nan"))
    before = state(made)
    with pytest.raises(
        Diverged,
        match=r"training diverged in epoch 1, step 1: the norm of the gradient is nan .* --set optimizer\.lr=0\.005",
    ):
        made.step(made.keys[:4], torch.zeros(4, 1, *digits.preprocessing.size, dtype=torch.uint8), torch.arange(4))
    assert all(torch.equal(before[name], value) for name, value in state(made).items())


def test_the_average_is_its_definition_and_takes_statistics_as_they_are() -> None:
    """average <- d average + (1 - d) weights with d = min(decay, (1 + t) / (10 + t)); buffers are copied."""
    model = build("convnet", blocks=[[1, 3, 2]])
    average = WeightAverage(model, 0.5)
    expected = {name: value.double() for name, value in model.state_dict().items()}
    for step in range(1, 12):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
            model(torch.randn(4, 1, 32, 32))
        average.update(model, step)
        d = min(0.5, (1 + step) / (10 + step))
        for name, value in model.named_parameters():
            expected[name] = d * expected[name] + (1 - d) * value.detach().double()
        expected |= {name: value.double() for name, value in model.named_buffers()}
    assert d == 0.5, "the warm-up of the decay is over"
    for name, value in average.tensors.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)
        assert value.dtype == model.state_dict()[name].dtype
    restored = WeightAverage(model, 0.5)
    restored.load(average.tensors)
    assert all(torch.equal(restored.tensors[name], value) for name, value in average.tensors.items())


def test_the_average_of_shared_weights_is_the_same_under_all_their_names() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    average.update(model, 100)
    assert not torch.equal(average.tensors["0.weight"], model[0].weight)
    assert torch.equal(average.tensors["0.weight"], average.tensors["1.weight"])


def test_a_processor_is_seeded_as_pytorch_does_it() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    seed_of_step(3, torch.device("cpu"))
    assert torch.equal(torch.rand(4), wanted)


def test_frozen_layers_stay_as_they_are_to_the_bit(tmp_path: Path) -> None:
    recipe = BASE.set(
        ["model.options.norm=batch", "freeze=1", "ema=0.9", "optimizer.weight_decay=0.1", "batch_size=400"]
    )
    trained = fit(recipe, "digits", tmp_path / "run", threads=1)
    saved = checkpoint.latest(trained.run.checkpoints)
    assert saved is not None
    fresh = trainer(recipe, open_data("digits", recipe.data, seed=0)).model.state_dict()
    moved = {name for name, value in saved.part("model").items() if not torch.equal(value, fresh[name])}
    assert moved == {name for name in fresh if not name.startswith("blocks.block1.")}
    still = {name for name, value in saved.part("average").items() if torch.equal(value, fresh[name])}
    assert still == {name for name in fresh if name.startswith("blocks.block1.")}
    assert [row["trained"] > 0 for row in trained.run.derived["layers"]] == [False, True, True]


def test_balanced_sampling_trains_on_as_many_of_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder with 16 dark pictures and 3 light ones, in each epoch."""
    write_photos(tmp_path / "photos", per_class=24)
    for k in range(4, 24):
        (tmp_path / "photos" / "light" / f"{k}.png").unlink()
    seen: list[list[int]] = []
    step = Trainer.step

    def recorded(self: Trainer, keys: Any, images: torch.Tensor, targets: torch.Tensor, share: Any) -> None:
        if self.position.batch == 0:
            seen.append([])
        seen[-1] += targets.tolist()
        step(self, keys, images, targets, share)

    monkeypatch.setattr(Trainer, "step", recorded)
    recipe = BASE.set(["sampling=balanced", "epochs=2", "batch_size=8"])
    trained = fit(recipe, str(tmp_path / "photos"), tmp_path / "run", threads=1, error_terms=False)
    labels = trained.data.splits["train"].labels
    assert np.bincount(labels)[0] > 4 * np.bincount(labels)[1], "the split is not balanced itself"
    for epoch in seen:
        counts = np.bincount(epoch)
        assert counts.sum() == len(labels)
        assert abs(counts[0] - counts[1]) <= 1
