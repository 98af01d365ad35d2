"""Segmentation from a folder of pictures and masks to a bundle: learning, exact resume, full-size results."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy, interpolate
from worlds import in_world

from pictures import write_photos, write_scenes
from striate.bundle import initial_weights, load, prepare, save_trained, verify
from striate.data import (
    VOID,
    Augmentation,
    DataOptions,
    decode_image,
    open_data,
    require_pictures,
    require_scenes,
    shuffled,
)
from striate.errors import Diverged, InputError
from striate.evaluation import SceneEvaluation, judge_scenes
from striate.models import build, card, names
from striate.models.dense_crf import refine
from striate.runtime import RuntimeOptions
from striate.training import (
    Interrupted,
    LossOptions,
    ModelOptions,
    OptimizerOptions,
    Overview,
    Recipe,
    Run,
    ScheduleOptions,
    default_recipe,
    fit,
    named_recipe,
    report,
    resume,
    uses,
)
from striate.training import _checkpoint as checkpoint
from striate.training._losses import make_pixel_loss
from striate.training._task import Segmentation
from striate.training.processes import Processes

RECIPE = Recipe(
    name="tiny",
    model=ModelOptions("deeplab-v1", {"width": 0.06}),
    data=DataOptions(
        channels=3, size=(32, 40), fit="pad", mean=(0.4,), std=(0.25,), crop_to=(25, 33), task="segmentation"
    ),
    augmentation=Augmentation(flip=0.5, zoom=(0.8, 1.2), brightness=0.2),
    optimizer=OptimizerOptions("adamw", lr=4e-3),
    schedule=ScheduleOptions("cosine", warmup=0.5),
    epochs=2,
    batch_size=4,
)
CLOCK = {"seconds", "images_per_second", "memory_mib"}


def stop_at(step: int) -> Any:
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= step


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    run = Run.open(folder)
    last = checkpoint.latest(run.checkpoints)
    assert last is not None
    return {**last.tensors, **{f"best.{k}": v for k, v in checkpoint.read(run.best).tensors.items()}}


def timeless(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


def json_of(values: tuple[Any, ...]) -> Any:
    return [asdict(value) for value in values]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of another size than the network's."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(root, count=18, size=(37, 50))
    (root / "labels.txt").write_text("noise\nsquare\ndisc\n")
    return root


@pytest.fixture(scope="module")
def finished(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    save_trained(fit(RECIPE, str(scenes), folder, threads=1))
    return folder


@pytest.mark.parametrize("steps", [2, pytest.param(4, marks=pytest.mark.slow), 6])
def test_resume_is_exact_at_any_step(tmp_path: Path, scenes: Path, finished: Path, steps: int) -> None:
    """Four steps an epoch: in the middle of the first, at its last step, in the middle of the second."""
    with pytest.raises(Interrupted, match=r"continue with: striate train --resume"):
        fit(RECIPE, str(scenes), tmp_path / "run", threads=1, stop=stop_at(steps))
    torch.rand(7)  # the caller's generator is no part of it
    resume(tmp_path / "run")
    ours, theirs = last_weights(tmp_path / "run"), last_weights(finished)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert timeless(tmp_path / "run") == timeless(finished)
    for name in ("evaluation.json", "error_terms.jsonl"):
        assert (tmp_path / "run" / name).read_text() == (finished / name).read_text()


def test_three_processes_train_and_judge_as_one(tmp_path: Path, scenes: Path) -> None:
    """The loss is a mean over the known pixels of all, however they are spread; every pixel is judged once."""
    recipe = RECIPE.set(["epochs=1", "model.options.dropout=0", "batch_size=5", "optimizer.name=sgd"])
    how: Any = {"threads": 1, "error_terms": False, "runtime": RuntimeOptions("high")}  # bfloat16 rounds more coarsely
    one = fit(recipe, str(scenes), tmp_path / "one", **how)

    def work(processes: Processes) -> Any:
        trained = fit(recipe, str(scenes), tmp_path / "three", **how)
        return trained.evaluation.to_json()

    first, *others = in_world(3, work)
    assert others == [first, first]
    assert first["total"] == one.evaluation.total
    ours, theirs = last_weights(tmp_path / "three"), last_weights(tmp_path / "one")
    for name in (name for name in theirs if not name.startswith("optimizer")):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)
    mine, other = timeless(tmp_path / "three"), timeless(tmp_path / "one")
    assert [row["train_loss"] for row in mine] == pytest.approx([row["train_loss"] for row in other], rel=1e-5)

    model, data = build("fcn-32s", classes=3, channels=3, width=0.05).eval(), one.data
    split, preprocessing = require_scenes(data.splits["train"]), require_pictures(data.preprocessing)
    alone = judge_scenes(model, split, preprocessing, data.classes, batch_size=2)
    task = Segmentation(recipe, data)
    seen = in_world(3, lambda processes: task._judge(model, split, 2).to_json())
    assert seen == [alone.to_json()] * 3, "to the last bit"


def test_other_augmentation_gives_other_weights(tmp_path: Path, scenes: Path) -> None:
    """Lest the comparison above be of things that are always equal."""
    recipe = RECIPE.replace(augmentation=Augmentation())
    with pytest.raises(Interrupted):
        fit(recipe, str(scenes), tmp_path / "run", threads=1, error_terms=False, stop=stop_at(1))
    with pytest.raises(Interrupted):
        fit(RECIPE, str(scenes), tmp_path / "same", threads=1, error_terms=False, stop=stop_at(1))
    ours, theirs = (checkpoint.latest(tmp_path / name / "checkpoints") for name in ("run", "same"))
    assert ours is not None
    assert theirs is not None
    assert not all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)


def test_what_the_run_says_is_what_its_weights_do(scenes: Path, finished: Path) -> None:
    run = Run.open(finished)
    data = open_data(scenes, RECIPE.data, seed=0)
    model = build("deeplab-v1", classes=3, channels=3, size=(32, 40), width=0.06)
    model.load_state_dict(checkpoint.read(run.best).tensors)
    test = require_scenes(data.splits["test"])
    again = judge_scenes(model, test, data.preprocessing, data.classes, batch_size=4)
    written = json.loads((finished / "evaluation.json").read_text())
    assert (written["confusion"], written["worst"]) == ([list(row) for row in again.confusion], json_of(again.worst))
    assert written["nll"] == pytest.approx(again.nll, rel=1e-5), "kernels round otherwise"
    known = sum(int((np.asarray(Image.open(scenes / scene.mask)) != 255).sum()) for scene in test.scenes)
    assert written["total"] == known, "all known pixels of the files, at their own size"
    assert written["best_epoch"] == 1 + np.argmax([row["val_miou"] for row in timeless(finished)])
    with run.runtime.applied():  # validation computes as training does, in bfloat16 where that is fast
        val = judge_scenes(model, require_scenes(data.splits["val"]), data.preprocessing, data.classes, batch_size=4)
    row = timeless(finished)[written["best_epoch"] - 1]
    assert (row["val_miou"], row["val_accuracy"]) == (val.mean_iou, val.accuracy)
    assert row["val_loss"] == pytest.approx(val.nll, rel=1e-5)


def test_the_test_split_is_used_once_and_noted(finished: Path) -> None:
    (use,) = uses(finished)
    written = json.loads((finished / "evaluation.json").read_text())
    assert (use.command, use.own, use.correct, use.total) == ("train", True, written["correct"], written["total"])


def test_the_overview_has_mean_iou_and_no_interval(finished: Path) -> None:
    one = Overview.open(finished)
    assert one.best_val == max(row["val_miou"] for row in timeless(finished))
    assert one.test == json.loads((finished / "evaluation.json").read_text())["mean_iou"]
    assert one.interval is None


def test_the_best_epoch_is_that_of_mean_iou(tmp_path: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the pixels: those rise while the mean falls."""
    tables = [((60, 20), (0, 20)), ((80, 0), (19, 1))]

    def judged(*_: Any) -> SceneEvaluation:
        return SceneEvaluation(("a", "b"), 1, tables[min(len(seen), 1)], 0.5, ())

    seen: list[Any] = []
    monkeypatch.setattr(Segmentation, "_judge", lambda *arguments: seen.append(judged()) or seen[-1])
    assert tables[0][0][0] + tables[0][1][1] < tables[1][0][0] + tables[1][1][1]
    trained = fit(RECIPE, str(scenes), tmp_path / "run", threads=1, error_terms=False)
    assert checkpoint.read(trained.run.best).state == {"epoch": 1}


def test_the_report_shows_classes_and_the_worst_pictures(scenes: Path, finished: Path, tmp_path: Path) -> None:
    html = (finished / "report.html").read_text()
    for words in ("Mean IoU", "Worst pictures", "square", "Pixels right", "data:image/jpeg"):
        assert words in html
    assert "Calibration" not in html
    assert "95 % interval" not in html, "pixels are no independent samples"
    path, reason = report(finished, tmp_path / "again.html")
    assert (path.read_text(), reason) == (html, "")
    moved, reason = report(finished, tmp_path / "lost.html", where=str(tmp_path / "nowhere"))
    assert "the pictures are not shown" in reason
    assert "Worst pictures" in moved.read_text()


def test_the_bundle_is_verified_and_small(finished: Path) -> None:
    result = verify(finished / "model.striate")
    assert result.passed
    assert result.predictions == result.agreeing == result.images * 16 * 20, "every second row and column"
    bundle = load(finished / "model.striate")
    assert bundle.task == "segmentation"
    assert bundle.masks is not None
    assert bundle.masks.values == (0, 1, 2)
    full = bundle.golden_images.shape[0] * 3 * 32 * 40
    assert bundle.golden_logits.size <= full / 4


def test_other_weights_fail_the_verification(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load(finished / "model.striate")
    bundle.state["fc8.bias"] += 1e-2
    monkeypatch.setattr("striate.bundle._verify.load", lambda _: bundle)
    assert not verify(finished / "model.striate").passed


def test_masks_have_the_pictures_own_size(scenes: Path, finished: Path, tmp_path: Path) -> None:
    bundle = load(finished / "model.striate")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (9, 70), (200, 80, 60)).save(tmp_path / "tall.png")
    found = list(bundle.segment([scenes / "images", tmp_path / "broken.png", tmp_path / "tall.png"]))
    assert len(found) == 20
    for one in found[:18]:
        assert one.mask is not None
        assert one.mask.shape == (37, 50)
        assert one.mask.max() < 3
        assert sum(one.shares.values()) == pytest.approx(1.0)
        assert one.shares["disc"] == (one.mask == 2).mean()
    assert (found[18].mask, found[18].error is not None) == (None, True)
    assert found[19].mask is not None
    assert found[19].mask.shape == (70, 9)


def test_prediction_is_what_was_judged(scenes: Path, finished: Path) -> None:
    """The masks of the test pictures against the files give the counts of evaluation.json."""
    bundle = load(finished / "model.striate")
    test = require_scenes(open_data(scenes, RECIPE.data, seed=0).splits["test"])
    correct = total = 0
    for one, scene in zip(bundle.segment([scenes / name for name in test.ids]), test.scenes, strict=True):
        truth = np.asarray(Image.open(scenes / scene.mask))
        correct += int((truth == one.mask).sum())
        total += int((truth != 255).sum())
    written = json.loads((finished / "evaluation.json").read_text())
    assert total == written["total"]
    assert abs(correct - written["correct"]) <= 2, "the prepared network rounds otherwise"


def test_a_random_field_follows_the_picture(scenes: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The masks are those of `dense_crf.refine` on the picture as the network sees it, without the black around it."""
    bundle, path = load(finished / "model.striate"), scenes / "images" / "0.png"
    scores = 2 * torch.randn(3, 32, 40, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr("striate.bundle._segment.dense_logits", lambda *_: scores[None])
    plain, found = (next(bundle.segment(path, crf=crf)) for crf in (False, True))
    inner = (slice(None), slice(1, 31))  # 37 x 50 fits into 32 x 40 as 30 x 40
    picture = torch.from_numpy(decode_image(path, bundle.preprocessing))[inner]
    refined = refine(scores.softmax(0)[inner], picture).log()
    expected = interpolate(refined[None], (37, 50), mode="bilinear", align_corners=False)[0].argmax(0).numpy()
    assert found.mask is not None
    assert (found.mask != expected).mean() < 0.002, "but for ties"
    assert (found.mask != plain.mask).mean() > 0.05


def test_the_wrong_way_to_predict_is_refused(finished: Path) -> None:
    with pytest.raises(InputError, match="gives a mask for each picture: use `segment`"):
        load(finished / "model.striate").predict("x.png")
    with pytest.raises(InputError, match="threads must be 1 or more, got 0"):
        load(finished / "model.striate").segment("x.png", threads=0)


@pytest.mark.parametrize("name", [name for name in names() if card(name).task == "segmentation"])
def test_prepared_networks_label_alike(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, classes=3, channels=3, size=(40, 48), width=0.03).eval()
    x = torch.randn(2, 3, 40, 48)
    with torch.inference_mode():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.1)  # score layers that begin at 0
        plain, ready = model(x), prepare(model)(x)
    torch.testing.assert_close(ready, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


def test_the_loss_is_the_mean_over_known_pixels() -> None:
    loss = make_pixel_loss(LossOptions())
    logits, masks = torch.randn(2, 4, 5, 6, requires_grad=True), torch.randint(0, 4, (2, 5, 6), dtype=torch.uint8)
    masks[0, :3] = VOID
    known = masks != VOID
    by_pixel = cross_entropy(logits.permute(0, 2, 3, 1)[known], masks[known].long())
    torch.testing.assert_close(loss(logits, masks), by_pixel)
    nothing = loss(logits, torch.full_like(masks, VOID))
    nothing.backward()
    assert nothing.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any(), "a window without a known pixel teaches nothing, and is no NaN"
    with pytest.raises(InputError, match=r"masks are learned with loss\.name=cross_entropy"):
        make_pixel_loss(LossOptions("rbf_mse"))


def test_class_weights_are_those_of_the_pixels(scenes: Path) -> None:
    recipe = RECIPE.set(["loss.class_weights=balanced"])
    data = open_data(scenes, recipe.data, seed=0)
    task = Segmentation(recipe, data)
    train = require_scenes(data.splits["train"])
    masks = [np.asarray(Image.open(scenes / scene.mask)) for scene in train.scenes]
    counts = np.array([sum(int((mask == k).sum()) for mask in masks) for k in range(3)])
    assert task.class_counts().tolist() == counts.tolist()
    weights = torch.from_numpy((1 / counts) * counts.sum() / 3).float()
    logits, mask = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5), dtype=torch.uint8)
    mask[0, 0] = VOID
    known = mask != VOID
    by_pixel = cross_entropy(logits, mask.long(), weights, ignore_index=VOID, reduction="none")
    torch.testing.assert_close(task.loss(logits, mask), by_pixel[known].mean())
    assert task.count(mask) == int(known.sum())
    assert task.count(torch.full_like(mask, VOID)) == 0


def test_a_step_in_parts_is_the_step_of_the_whole(tmp_path: Path, scenes: Path) -> None:
    """Parts have different numbers of known pixels; in the mean over the batch each pixel counts once."""
    folders = []
    for size in (0, 1):
        recipe = RECIPE.set([f"micro_batch={size}", "model.options.dropout=0", "augmentation.shift=0.3"])
        folders.append(tmp_path / str(size))
        with pytest.raises(Interrupted):
            runtime = RuntimeOptions("high")  # bfloat16 rounds more coarsely
            fit(recipe, str(scenes), folders[-1], threads=1, error_terms=False, stop=stop_at(2), runtime=runtime)
    whole, parts = (checkpoint.latest(folder / "checkpoints") for folder in folders)
    assert whole is not None
    assert parts is not None
    for name, value in whole.tensors.items():
        torch.testing.assert_close(parts.tensors[name], value, rtol=1e-3, atol=1e-5)


def test_fcn_is_trained_in_stages(tmp_path: Path, scenes: Path) -> None:
    """FCN-16s begins with the weights of a trained FCN-32s, its new score layer at 0 (section 4.2 of the paper)."""
    coarse = RECIPE.replace(model=ModelOptions("fcn-32s", {"width": 0.01})).replace(epochs=1, batch_size=8)
    run = fit(coarse, str(scenes), tmp_path / "coarse", threads=1, error_terms=False).run
    finer = coarse.replace(model=ModelOptions("fcn-16s", {"width": 0.01}))
    with pytest.raises(Interrupted):
        fit(
            finer.set(["optimizer.lr=1e-30", "optimizer.weight_decay=0"]),
            str(scenes),
            tmp_path / "finer",
            threads=1,
            error_terms=False,
            weights=initial_weights(tmp_path / "coarse"),
            stop=stop_at(1),
        )
    begun, trained = checkpoint.latest(tmp_path / "finer" / "checkpoints"), checkpoint.read(run.best).tensors
    assert begun is not None
    taken = begun.part("model")
    assert taken.keys() - trained.keys() == {"upscore2.weight", "score_pool4.weight", "score_pool4.bias"}
    assert all(torch.allclose(taken[name], value, rtol=0, atol=1e-20) for name, value in trained.items())
    assert trained["score_fr.weight"].any(), "it was trained"
    assert not taken["score_pool4.weight"].gt(1e-20).any()


def test_pictures_and_masks_move_alike_and_hits_are_of_known_pixels(scenes: Path) -> None:
    data = open_data(scenes, RECIPE.data, seed=0)
    task, split = Segmentation(RECIPE, data), require_scenes(data.splits["train"])
    rows = shuffled(0, 0, split.keys)[:4]
    images, masks = torch.from_numpy(split.load(rows)), torch.from_numpy(split.targets(rows))
    inputs, targets = task.augment(images, masks, split.keys[rows], 3)
    assert inputs.shape == (4, 3, 25, 33)
    assert targets.shape == (4, 25, 33)
    assert targets.dtype == torch.uint8
    blue = inputs[:, 2] > inputs[:, 0] + 2.0  # discs are blue
    assert (targets[blue] == 2).float().mean() > 0.9
    known = targets != VOID
    scores = torch.nn.functional.one_hot(targets.where(known, torch.tensor(0)).long(), 3).permute(0, 3, 1, 2).float()
    assert task.hits(scores, targets) == (int(known.sum()), int(known.sum()))
    assert task.hits(-scores, targets)[0] == 0


@pytest.mark.slow
def test_it_learns(tmp_path: Path, scenes: Path) -> None:
    recipe = RECIPE.replace(model=ModelOptions("deeplab-v1", {"width": 0.125, "dropout": 0.0}), batch_size=2)
    recipe = recipe.set(["epochs=25", "optimizer.lr=0.002", "data.crop_to=none", "augmentation.zoom=1,1"])
    trained = fit(recipe, str(scenes), tmp_path / "run", threads=1, error_terms=False)
    evaluation = trained.evaluation
    assert isinstance(evaluation, SceneEvaluation)
    assert evaluation.mean_iou > 0.45, "always saying noise has about 0.28"


def test_networks_and_data_that_do_not_fit_are_refused(tmp_path: Path, scenes: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="lenet5 is a network for classification and the data are pictures with masks"):
        fit(RECIPE.replace(model=ModelOptions("lenet5")), str(scenes), folder)
    photos = named_recipe("photos").replace(model=ModelOptions("fcn-8s"))
    with pytest.raises(
        InputError,
        match=r"fcn-8s is a network for segmentation and the data are one label per picture: choose a network for "
        r"classification .* or give pictures with masks and --task segmentation",
    ):
        fit(photos, str(scenes), folder)
    with pytest.raises(InputError, match="neocognitron learns without labels"):
        fit(photos.replace(model=ModelOptions("neocognitron")), str(scenes), folder)
    with pytest.raises(InputError, match=r"data\.task=segmentation \(--task segmentation\)"):
        fit(named_recipe("photos"), str(scenes), folder)
    write_photos(tmp_path / "photos")
    with pytest.raises(InputError, match=r"found 'dark', 'light'; .* is for --task classification"):
        fit(RECIPE, str(tmp_path / "photos"), folder)
    with pytest.raises(InputError, match=r"masks are learned with loss\.name=cross_entropy"):
        fit(RECIPE.replace(loss=LossOptions("rbf_map")), str(scenes), folder)
    assert not folder.exists()


def test_a_mask_that_changes_under_a_run_is_refused(tmp_path: Path, scenes: Path) -> None:
    shutil.copytree(scenes, tmp_path / "scenes")
    with pytest.raises(Interrupted):
        fit(RECIPE, str(tmp_path / "scenes"), tmp_path / "run", threads=1, stop=stop_at(1))
    mask = tmp_path / "scenes" / "masks" / "3.png"
    labels = np.array(Image.open(mask))
    labels[5, 5] = (labels[5, 5] + 1) % 3
    Image.fromarray(labels).save(mask)
    with pytest.raises(InputError, match="is not what this run began with"):
        resume(tmp_path / "run")


def test_divergence_is_told(tmp_path: Path, scenes: Path) -> None:
    with pytest.raises(Diverged, match="start a new run with a lower learning rate"):
        fit(RECIPE.set(["optimizer.lr=1e20"]), str(scenes), tmp_path / "run", threads=1, error_terms=False)


def test_the_networks_of_papers_bring_their_training() -> None:
    assert default_recipe("folder", None, "segmentation").name == "scenes"
    assert default_recipe("folder", "fcn-8s", "segmentation").name == "fcn-8s"
    assert default_recipe("folder", "deeplab-v2-resnet101", "segmentation").name == "deeplab-v2-resnet101"
    other = default_recipe("folder", "deconvnet", "segmentation")
    assert (other.name, other.model, other.data.task) == ("scenes", ModelOptions("deconvnet"), "segmentation")
