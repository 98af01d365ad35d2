"""The training loop: one flat loop over steps whose whole state is in one place and can be saved at any step."""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.data import ImageData, batches, sample_keys, shuffled
from striate.errors import Diverged, InputError, Interrupted, StriateError
from striate.insight import error_terms
from striate.models import build, card
from striate.models.auxiliary import HasAuxiliaries
from striate.training import _checkpoint as checkpoint
from striate.training._average import WeightAverage
from striate.training._error_terms import PICTURES, ErrorTermLog
from striate.training._listener import Listener, Step
from striate.training._memory import peak_memory
from striate.training._optimizer import load_state_tensors, make_optimizer, state_tensors
from striate.training._pace import Laps, Pace
from striate.training._recipe import Recipe
from striate.training._run import Run
from striate.training._schedule import factor
from striate.training._task import task_of

EXPLODED = 1000.0  # a loss so many times the first one is not coming back


@dataclass
class Position:
    """How far a run is: all of its state that is no tensor."""

    epoch: int = 0  # the epoch under way, counted from 0
    batch: int = 0  # batches of it that are done
    step: int = 0  # steps since the beginning
    loss_sum: float = 0.0  # over the images of this epoch so far
    correct: int = 0  # targets of this epoch so far that were predicted rightly
    counted: int = 0  # targets that count: labels, or known pixels
    seen: int = 0  # images
    seconds: float = 0.0  # spent in this epoch so far, on steps and on waiting for batches
    elapsed: float = 0.0  # spent on the training so far, with all that is not steps
    first_loss: float = math.nan
    best_epoch: int = -1
    best_accuracy: float = -1.0  # the task's score
    best_loss: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values; numbers that JSON lacks become None."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Position":
        """Make a position from `to_json`'s dictionary; an older one has no `counted`: it counted images."""
        values = {"counted": values.get("seen"), **values}
        return cls(**{key: value for key, value in values.items() if value is not None})


class Trainer:
    """A run's model, optimiser, average and position; `train()` takes it to its end from wherever it is."""

    def __init__(
        self,
        run: Run,
        data: ImageData,
        listener: Listener,
        stop: Callable[[], bool],
        *,
        error_terms: bool = True,
    ) -> None:
        self.watched = error_terms
        self.run, self.data, self.listener, self.stop = run, data, listener, stop
        self.recipe = run.recipe
        self.device = torch.device(run.device)
        self.model = fresh_model(self.recipe, data).to(self.device)
        if run.runtime.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.recipe.optimizer, self.model)
        self.average = WeightAverage(self.model, self.recipe.ema) if self.recipe.ema else None
        self.task = task_of(self.recipe, data)
        self.position = Position()
        self.train_split = data.splits["train"]
        self.keys = sample_keys(self.train_split.ids)
        self.saved = time.monotonic()
        self.sitting = Laps()
        self.batches = math.ceil(len(self.train_split) / self.recipe.batch_size)

    def load(self, saved: checkpoint.Checkpoint) -> None:
        """Go back to where a checkpoint was written."""
        self.run.require_same_recipe(Recipe.from_json(saved.state["recipe"]))
        self.model.load_state_dict(saved.part("model"))
        load_state_tensors(self.optimizer, saved.part("optimizer"))
        if self.average is not None:
            self.average.load(saved.part("average"))
        self.position = Position.from_json(saved.state["position"])

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a checkpoint of this moment holds: its tensors and the rest."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in state_tensors(self.optimizer).items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.tensors.items()}
        return tensors, {"recipe": self.recipe.to_json(), "position": self.position.to_json()}

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        self.spent()
        checkpoint.save_step(self.run.checkpoints, self.position.step, *self.contents())
        self.saved = time.monotonic()

    def spent(self) -> float:
        """Return the seconds spent on this training so far, in however many sittings."""
        self.position.elapsed += self.sitting.lap()
        return self.position.elapsed

    def save_if_due(self, seconds: float) -> None:
        """Write a checkpoint if the last one is at least so old."""
        if time.monotonic() - self.saved >= seconds:
            self.save()

    def train(self, checkpoint_seconds: float, between: float = 0.0) -> None:
        """Train to the end; raises Interrupted when asked to stop and StriateError when the loss diverges.

        `between`: the seconds that are expected between two epochs, for the time that is left.
        """
        position, recipe = self.position, self.recipe
        self.run.write_metrics(position.history)
        log = ErrorTermLog(self.run.error_terms, position.epoch)
        self.listener.begin(self.run.folder, position.history, log.rows)
        if not position.batch and not log.has(position.epoch):
            self.record_error_terms(log)  # of the weights that training begins with
        self.saved = time.monotonic()
        pace = Pace(between)
        while position.epoch < recipe.epochs and not self.out_of_patience():
            for batch in self.rest_of_epoch():
                self.step(*batch)
                position.seconds += pace.step()
                self.tell(pace)
                if self.stop():
                    self.save()
                    again = f"striate train --resume {self.run.folder}"
                    raise Interrupted(f"stopped in epoch {position.epoch + 1}; continue with: {again}")
                self.save_if_due(checkpoint_seconds)
            self.end_epoch()
            self.record_error_terms(log)
            self.save_if_due(checkpoint_seconds)
            pace.epoch()
        self.save()

    def rest_of_epoch(self) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """Return what `step` takes, batch by batch to the end of the epoch, with the model ready for it."""
        order = self.train_split.order(self.recipe.seed, self.position.epoch)
        self.model.train()
        return batches(self.train_split, order, self.recipe.batch_size, start_batch=self.position.batch)

    def step(self, indices: np.ndarray, images: Tensor, targets: Tensor) -> None:
        """Take one training step: everything random in it is a function of the seed and where the run is."""
        position, recipe = self.position, self.recipe
        torch.manual_seed(_seed(recipe.seed, f"step {position.step}"))  # for dropout and its like
        inputs, targets = self.augmented(indices, images, targets)
        lr = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        outputs, loss = self.outputs_and_loss(inputs, targets)
        value = float(loss.detach())
        self.require_sane(value)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.optimizer.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimizer.clip_norm)
        self.optimizer.step()
        position.step += 1
        position.batch += 1
        if self.average is not None:
            self.average.update(self.model, position.step)
        correct, counted = self.task.hits(outputs, targets)
        position.loss_sum += value * len(images)
        position.correct += correct
        position.counted += counted
        position.seen += len(images)

    def augmented(self, indices: np.ndarray, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return uint8 images and their targets as the network sees them in this epoch."""
        images, targets = images.to(self.device), targets.to(self.device)
        inputs, targets = self.task.augment(images, targets, self.keys[indices], self.position.epoch)
        return self.run.runtime.laid_out(inputs), targets

    def outputs_and_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the loss, to which auxiliary classifiers add theirs with their weights."""
        auxiliaries: list[tuple[float, Tensor]] = []
        try:
            with self.run.runtime.autocast(self.device.type):
                if isinstance(self.model, HasAuxiliaries):
                    logits, named = self.model.forward_auxiliaries(inputs)
                    auxiliaries = [(weight, named[name]) for name, weight in self.model.auxiliary_weights.items()]
                else:
                    logits = self.model(inputs)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise StriateError(
                f"batch normalisation needs more than one value per channel and this batch has {len(inputs)} image: "
                "change the batch size so that none is left over, for example "
                f"--set batch_size={self.recipe.batch_size + 1}"
            ) from error
        logits = logits.float()  # losses are computed in float32 whatever the products are
        loss = self.task.loss(logits, targets)
        for weight, output in auxiliaries:
            loss = loss + weight * self.task.loss(output.float(), targets)
        return logits, loss

    def learning_rate(self) -> float:
        """Return the learning rate of the next step: the schedule at the step's middle."""
        epoch = self.position.epoch + (self.position.batch + 0.5) / self.batches
        errors = [1.0 - row[self.task.score] for row in self.position.history]
        return self.recipe.optimizer.lr * factor(self.recipe.schedule, epoch, self.recipe.epochs, errors)

    def require_sane(self, loss: float) -> None:
        """Raise StriateError if the loss is no number any more or has exploded."""
        position = self.position
        if math.isnan(position.first_loss) and math.isfinite(loss):
            position.first_loss = loss
        if not math.isfinite(loss) or loss > EXPLODED * max(position.first_loss, 1.0):
            raise Diverged(
                f"training diverged in epoch {position.epoch + 1}, step {position.step + 1}: the loss is {loss:.4g} "
                f"(it began at {position.first_loss:.4g}); start a new run with a lower learning rate, for example "
                f"--set optimizer.lr={self.recipe.optimizer.lr / 10:g}"
            )

    def end_epoch(self) -> None:
        """Measure on the validation split, note the epoch's line, keep the best weights, go to the next epoch."""
        position = self.position
        row: dict[str, Any] = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "lr": self.learning_rate(),
            "train_loss": position.loss_sum / position.seen,
            "train_accuracy": position.correct / max(position.counted, 1),
        }
        started = time.monotonic()
        measured = self.task.validate(
            self.judged_model(), self.data.splits["val"], batch_size=judging_batch(self.recipe)
        )
        row |= measured.row
        seconds = position.seconds + time.monotonic() - started
        row |= {"seconds": round(seconds, 3), "images_per_second": round(position.seen / position.seconds, 1)}
        row["memory_mib"] = peak_memory(self.device)
        if (measured.score, -measured.loss) > (position.best_accuracy, -position.best_loss):
            position.best_epoch = position.epoch
            position.best_accuracy, position.best_loss = measured.score, measured.loss
            checkpoint.write(self.run.best, self.judged_model().state_dict(), {"epoch": position.epoch + 1})
        position.history.append(row)
        position.epoch, position.batch = position.epoch + 1, 0
        position.loss_sum, position.correct, position.counted, position.seen, position.seconds = 0.0, 0, 0, 0, 0.0
        self.run.write_metrics(position.history)
        self.listener.epoch(row)

    def record_error_terms(self, log: ErrorTermLog) -> None:
        """Measure the error terms of the layers on one batch, always of the same pictures; training is not changed."""
        if not self.watched:
            return
        pictures = min(PICTURES, self.recipe.batch_size, len(self.train_split))
        order = shuffled(self.recipe.seed, 0, self.keys)[:pictures]
        batch = next(iter(batches(self.train_split, order, pictures)))
        torch.manual_seed(_seed(self.recipe.seed, f"error terms {self.position.epoch}"))  # each step seeds its own
        self.model.train()
        inputs, targets = self.augmented(*batch)
        terms = error_terms(self.model, lambda: self.outputs_and_loss(inputs, targets)[1])
        self.listener.error_terms(log.add(self.position.epoch, terms))

    def judged_model(self) -> nn.Module:
        """Return the model that counts: with the averaged weights where there is an average."""
        if self.average is None:
            return self.model
        judged = copy.deepcopy(self.model)
        judged.load_state_dict(self.average.tensors)
        return judged

    def out_of_patience(self) -> bool:
        """Whether the validation accuracy has not risen for as many epochs as the recipe has patience."""
        since = self.position.epoch - 1 - self.position.best_epoch
        return 0 < self.recipe.patience <= since

    def tell(self, pace: Pace) -> None:
        """Tell the listener where the run stands."""
        position, epochs = self.position, self.recipe.epochs
        self.listener.step(
            Step(
                epoch=position.epoch + 1,
                epochs=epochs,
                batch=position.batch,
                batches=self.batches,
                loss=position.loss_sum / position.seen,
                accuracy=position.correct / max(position.counted, 1),
                lr=self.optimizer.param_groups[0]["lr"],
                images_per_second=position.seen / max(position.seconds, 1e-9),
                seconds_left=pace.left(self.batches * epochs - position.step, epochs - position.epoch),
            )
        )


def fresh_model(recipe: Recipe, data: ImageData) -> nn.Module:
    """Build the recipe's network for the data, initialised from the recipe's seed alone; the caller's stays.

    Raises InputError for a network that does not classify or does not fit the data.
    """
    if recipe.data.task != "classification":
        raise InputError(
            f"data.task={recipe.data.task}: training takes folders of classes; pictures with masks can be opened from "
            "Python (striate.data.open_data) and trained by a loop of your own"
        )
    task = card(recipe.model.name).task
    if task != "classification":
        raise InputError(
            f"{recipe.model.name} is a network for {task}; training takes classifiers, one label per picture "
            "(`striate models` lists the networks)"
        )
    channels, height, width = data.preprocessing.input_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(recipe.seed, "weights"))
        return build(
            recipe.model.name,
            classes=len(data.classes),
            channels=channels,
            size=(height, width),
            **recipe.model.options,
        )


def judging_batch(recipe: Recipe) -> int:
    """Return how many pictures are measured at once: never more than are trained on, so it takes no more memory."""
    return min(recipe.batch_size, 256)


def _seed(seed: int, stream: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest(), "big") >> 1
