"""What the loop needs to know of a task: what a batch becomes, what is minimised, and how a model is judged.

All else of a training is the same for every task.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.data import (
    VOID,
    ImageData,
    ImageSplit,
    Preprocessing,
    Progress,
    augment,
    augment_scenes,
    augment_signals,
    on_canvas,
    require_pictures,
    require_scenes,
)
from striate.data._randomness import Keys
from striate.errors import InputError
from striate.evaluation import (
    Evaluation,
    SceneCounts,
    SceneEvaluation,
    count_scenes,
    evaluation_of,
    fit_temperature,
    judge,
)
from striate.models import card
from striate.training._class_weights import class_weights
from striate.training._losses import make_loss, make_pixel_loss
from striate.training._recipe import Recipe
from striate.training.processes import current, logits_together, own_rows


class Validation(NamedTuple):
    """A model on the validation split: what the epoch's line says of it, and what chooses the best epoch."""

    row: dict[str, float]  # val_loss, val_accuracy ...
    score: float  # the higher, the better, up to 1; its key in the row is the task's `score`
    loss: float  # decides between equal scores: the lower, the better


class Conclusion(NamedTuple):
    """The best weights on the test split."""

    evaluation: Evaluation | SceneEvaluation
    temperature: float  # calibrates probabilities: softmax(logits / temperature); 1 where nothing is calibrated


class Task(ABC):
    """What a network learns; one object per run, without state of its own."""

    score: str  # the key of the validation score in a line of metrics.jsonl

    def __init__(self, recipe: Recipe, data: ImageData) -> None:
        self.recipe, self.data = recipe, data

    @abstractmethod
    def augment(self, images: Tensor, targets: Tensor, keys: Keys, epoch: int) -> tuple[Tensor, Tensor]:
        """Return uint8 pictures and their targets as the network sees them in an epoch, standardised."""

    def class_counts(self) -> NDArray[np.int64]:
        """Return how many targets of each class the training split has."""
        counts: NDArray[np.int64] = np.bincount(self.data.splits["train"].labels, minlength=len(self.data.classes))
        return counts

    def count(self, targets: Tensor) -> int:
        """Return how many of a batch's targets count: the loss is a mean over so many."""
        return len(targets)

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what is minimised: a mean over the targets that count."""

    @abstractmethod
    def hits(self, outputs: Tensor, targets: Tensor) -> tuple[int, int]:
        """Return how many targets were predicted rightly, and how many count: the running accuracy."""

    @abstractmethod
    def validate(self, model: nn.Module, split: ImageSplit, *, batch_size: int) -> Validation:
        """Judge a model on the validation split."""

    @abstractmethod
    def conclude(
        self, model: nn.Module, val: ImageSplit, test: ImageSplit, *, batch_size: int, progress: Progress | None = None
    ) -> Conclusion:
        """Judge the finished model once on the test split; what is fitted to its outputs is fitted on `val`."""


@final
class Classification(Task):
    """One label per picture; probabilities are calibrated."""

    score = "val_accuracy"

    def __init__(self, recipe: Recipe, data: ImageData) -> None:
        super().__init__(recipe, data)
        self.criterion = make_loss(recipe.loss, class_weights(recipe.loss.class_weights, self.class_counts()))

    def augment(self, images: Tensor, targets: Tensor, keys: Keys, epoch: int) -> tuple[Tensor, Tensor]:
        """Return pictures N x C x H x W, or series N x C x T, and their labels N."""
        preprocessing, recipe = self.data.preprocessing, self.recipe
        canvas, options = preprocessing.canvas(images), recipe.augmentation
        if isinstance(preprocessing, Preprocessing):
            size = preprocessing.input_size[1:]
            canvas = augment(canvas, keys, seed=recipe.seed, epoch=epoch, options=options, size=size)
        else:
            canvas = augment_signals(canvas, keys, seed=recipe.seed, epoch=epoch, options=options)
        return preprocessing.standardize(canvas), targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the recipe's loss, a mean over the pictures."""
        return self.criterion(outputs, targets)

    def hits(self, outputs: Tensor, targets: Tensor) -> tuple[int, int]:
        """Return how many pictures were predicted rightly, of how many: of a mixed one, the class of most of it."""
        labels = targets.argmax(1) if targets.ndim == 2 else targets
        return int((outputs.argmax(1) == labels).sum()), len(targets)

    def validate(self, model: nn.Module, split: ImageSplit, *, batch_size: int) -> Validation:
        """Measure accuracy and negative log-likelihood."""
        logits = logits_together(model, split, self.data.preprocessing, batch_size=batch_size)
        measured = judge(logits, split.labels, self.data.classes, split.ids)
        row = {"val_loss": measured.nll, "val_accuracy": measured.accuracy}
        return Validation(row, measured.accuracy, measured.nll)

    def conclude(
        self, model: nn.Module, val: ImageSplit, test: ImageSplit, *, batch_size: int, progress: Progress | None = None
    ) -> Conclusion:
        """Fit the temperature on the validation split, then judge."""
        preprocessing = self.data.preprocessing
        on_val = logits_together(model, val, preprocessing, batch_size=batch_size, progress=progress)
        temperature = fit_temperature(on_val, val.labels)
        logits = logits_together(model, test, preprocessing, batch_size=batch_size, progress=progress)
        return Conclusion(judge(logits, test.labels, self.data.classes, test.ids, temperature=temperature), temperature)


@final
class Segmentation(Task):
    """A class for each pixel; pixels that are VOID are neither learned nor counted. Nothing is calibrated."""

    score = "val_miou"

    def __init__(self, recipe: Recipe, data: ImageData) -> None:
        super().__init__(recipe, data)
        self.criterion = make_pixel_loss(recipe.loss, class_weights(recipe.loss.class_weights, self.class_counts()))
        self.preprocessing = require_pictures(data.preprocessing)
        self.window = recipe.data.preprocessing().input_size[1:]  # while training; whole pictures are judged

    def augment(self, images: Tensor, targets: Tensor, keys: Keys, epoch: int) -> tuple[Tensor, Tensor]:
        """Return pictures N x C x H x W and their masks N x H x W, moved alike."""
        preprocessing = self.preprocessing
        canvas, masks = augment_scenes(
            preprocessing.canvas(images),
            on_canvas(targets, preprocessing),
            keys,
            seed=self.recipe.seed,
            epoch=epoch,
            options=self.recipe.augmentation,
            size=self.window,
        )
        return preprocessing.standardize(canvas), masks

    def class_counts(self) -> NDArray[np.int64]:
        """Return how many pixels of each class the training split has."""
        return require_scenes(self.data.splits["train"]).pixels

    def count(self, targets: Tensor) -> int:
        """Return how many pixels of a batch are known."""
        return int((targets != VOID).sum())

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy, a mean over the known pixels of the batch."""
        return self.criterion(outputs, targets)

    def hits(self, outputs: Tensor, targets: Tensor) -> tuple[int, int]:
        """Return how many known pixels were predicted rightly, of how many."""
        return int((outputs.argmax(1) == targets).sum()), int((targets != VOID).sum())

    def validate(self, model: nn.Module, split: ImageSplit, *, batch_size: int) -> Validation:
        """Measure mean IoU and pixel accuracy at the pictures' own sizes, and the negative log-likelihood."""
        measured = self._judge(model, split, batch_size)
        row = {"val_loss": measured.nll, "val_accuracy": measured.accuracy, "val_miou": measured.mean_iou}
        return Validation(row, measured.mean_iou, measured.nll)

    def conclude(
        self, model: nn.Module, val: ImageSplit, test: ImageSplit, *, batch_size: int, progress: Progress | None = None
    ) -> Conclusion:
        """Judge on the test split."""
        return Conclusion(self._judge(model, test, batch_size, progress), 1.0)

    def _judge(
        self, model: nn.Module, split: ImageSplit, batch_size: int, progress: Progress | None = None
    ) -> SceneEvaluation:
        scenes, classes, processes = require_scenes(split), self.data.classes, current()
        own = count_scenes(
            model,
            scenes,
            own_rows(len(scenes), batch_size),
            self.preprocessing,
            classes,
            batch_size=batch_size,
            progress=progress,
        )
        counts = SceneCounts(processes.sum_counts(own.confusion), processes.in_order(own.pictures))
        return evaluation_of(counts, scenes, classes)


def task_of(recipe: Recipe, data: ImageData) -> Task:
    """Return the recipe's task on its data."""
    return Segmentation(recipe, data) if recipe.data.task == "segmentation" else Classification(recipe, data)


def require_network(recipe: Recipe) -> None:
    """Raise InputError unless the recipe's network and loss are for its task."""
    require_task(recipe.model.name, recipe.data.task)
    if recipe.data.task == "segmentation":
        make_pixel_loss(recipe.loss)


def require_task(name: str, task: str) -> None:
    """Raise InputError unless the network of that name is for the task."""
    model = card(name)
    if model.task == "unsupervised":
        raise InputError(f"{model.name} learns without labels: it is trained from Python (docs/unsupervised.md)")
    if model.task != task:
        what = {"classification": "one label per picture", "segmentation": "pictures with masks"}
        raise InputError(
            f"{model.name} is a network for {model.task} and the data are {what.get(task, task)}: choose a network for "
            f"{task} (`striate models` tells what each is for), or give {what[model.task]} and --task {model.task}"
        )
