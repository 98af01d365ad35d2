"""The training loop: one flat loop over steps whose whole state is in one place and can be saved at any step."""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from striate.data import ImageData, batches, draws, shuffled
from striate.data._randomness import Keys
from striate.errors import Diverged, Interrupted, StriateError
from striate.insight import error_terms
from striate.models import build
from striate.models.auxiliary import HasAuxiliaries
from striate.training import _checkpoint as checkpoint
from striate.training._average import WeightAverage
from striate.training._error_terms import PICTURES, ErrorTermLog
from striate.training._layers import freeze, set_training
from striate.training._listener import Listener, Step
from striate.training._memory import peak_memory
from striate.training._optimizer import load_state_tensors, make_optimizer, set_rate, state_tensors
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
        freeze(self.model, self.recipe.freeze)
        self.optimizer = make_optimizer(self.recipe.optimizer, self.model)
        self.average = WeightAverage(self.model, self.recipe.ema) if self.recipe.ema else None
        self.task = task_of(self.recipe, data)
        self.position = Position()
        self.rate = self.recipe.optimizer.lr
        self.train_split = data.splits["train"]
        self.keys = self.train_split.keys
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

    def rest_of_epoch(self) -> Iterator[tuple[Keys, Tensor, Tensor]]:
        """Return what `step` takes, batch by batch to the end of the epoch, with the model ready for it."""
        size, start = self.recipe.batch_size, self.position.batch
        rows, keys = draws(self.train_split, self.recipe.sampling, self.recipe.seed, self.position.epoch)
        set_training(self.model, self.recipe.freeze)
        ahead = batches(self.train_split, rows, size, start_batch=start)
        return (
            (keys[k * size :][: len(images)], images, targets) for k, (_, images, targets) in enumerate(ahead, start)
        )

    def step(self, keys: Keys, images: Tensor, targets: Tensor) -> None:
        """Take one training step: everything random in it is a function of the seed and where the run is."""
        position, recipe = self.position, self.recipe
        torch.manual_seed(_seed(recipe.seed, f"step {position.step}"))  # for dropout and its like
        inputs, targets = self.augmented(keys, images, targets)
        self.rate = self.learning_rate()
        set_rate(self.optimizer, self.rate)
        self.optimizer.zero_grad(set_to_none=True)
        value, correct, counted = self.gradients(inputs, targets)
        self.require_sane(value)
        if recipe.optimizer.clip_norm:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimizer.clip_norm)
            self.require_sane(0.0 if bool(norm.isfinite()) else math.nan, "norm of the gradient")
        self.optimizer.step()
        position.step += 1
        position.batch += 1
        if self.average is not None:
            self.average.update(self.model, position.step)
        position.loss_sum += value * len(images)
        position.correct += correct
        position.counted += counted
        position.seen += len(images)

    def gradients(self, inputs: Tensor, targets: Tensor) -> tuple[float, int, int]:
        """Add up the gradients of a batch's loss, part by part; return the loss, how many were right, of how many."""
        count = math.ceil(len(inputs) / (self.recipe.micro_batch or len(inputs)))
        whole = self.task.count(targets)
        value, correct, counted = torch.zeros((), device=self.device), 0, 0
        for part, wanted in zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True):
            outputs, loss = self.outputs_and_loss(part, wanted)
            share = self.task.count(wanted) / max(whole, 1) if count > 1 else 1.0  # the loss is a mean over what counts
            (share * loss).backward()  # type: ignore[no-untyped-call]
            value += share * loss.detach()
            hits = self.task.hits(outputs, wanted)
            correct, counted = correct + hits[0], counted + hits[1]
        return float(value), correct, counted

    def augmented(self, keys: Keys, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return uint8 images and their targets as the network sees them in this epoch."""
        images, targets = images.to(self.device), targets.to(self.device)
        inputs, targets = self.task.augment(images, targets, keys, self.position.epoch)
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
            setting = "micro_batch" if self.recipe.micro_batch == 1 else "batch_size"
            raise StriateError(
                f"batch normalisation needs more than one value per channel and this batch has {len(inputs)} image: "
                "change the batch size so that none is left over, for example "
                f"--set {setting}={getattr(self.recipe, setting) + 1}"
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

    def require_sane(self, loss: float, what: str = "loss") -> None:
        """Raise StriateError if the loss is no number any more or has exploded."""
        position = self.position
        if math.isnan(position.first_loss) and math.isfinite(loss):
            position.first_loss = loss
        if not math.isfinite(loss) or loss > EXPLODED * max(position.first_loss, 1.0):
            raise Diverged(
                f"training diverged in epoch {position.epoch + 1}, step {position.step + 1}: the {what} is {loss:.4g} "
                f"(the loss began at {position.first_loss:.4g}); start a new run with a lower learning rate, for "
                f"example --set optimizer.lr={self.recipe.optimizer.lr / 10:g}"
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
        pictures = min(PICTURES, judging_batch(self.recipe), len(self.train_split))
        order = shuffled(self.recipe.seed, 0, self.keys)[:pictures]
        rows, images, targets = next(iter(batches(self.train_split, order, pictures)))
        torch.manual_seed(_seed(self.recipe.seed, f"error terms {self.position.epoch}"))  # each step seeds its own
        set_training(self.model, self.recipe.freeze)
        inputs, targets = self.augmented(self.keys[rows], images, targets)
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
                lr=self.rate,
                images_per_second=position.seen / max(position.seconds, 1e-9),
                seconds_left=pace.left(self.batches * epochs - position.step, epochs - position.epoch),
            )
        )


def first_checkpoint(recipe: Recipe, model: nn.Module) -> checkpoint.Checkpoint:
    """Return the checkpoint of a run that begins with the weights of `model` and has not made a step yet."""
    parts = ("model", "average") if recipe.ema else ("model",)
    tensors = {f"{part}.{name}": value.clone() for part in parts for name, value in model.state_dict().items()}
    return checkpoint.Checkpoint(tensors, {"recipe": recipe.to_json(), "position": Position().to_json()})


def fresh_model(recipe: Recipe, data: ImageData) -> nn.Module:
    """Build the recipe's network for the data, initialised from the recipe's seed alone; the caller's stays.

    Raises InputError for a network that does not fit the data.
    """
    channels, *size = data.preprocessing.input_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(recipe.seed, "weights"))
        return build(
            recipe.model.name,
            classes=len(data.classes),
            channels=channels,
            size=tuple(size),
            **recipe.model.options,
        )


def judging_batch(recipe: Recipe) -> int:
    """Return how many pictures are measured at once: never more than are trained on, so it takes no more memory."""
    return min(recipe.micro_batch or recipe.batch_size, 256)


def _seed(seed: int, stream: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest(), "big") >> 1
