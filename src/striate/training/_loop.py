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
from numpy.typing import NDArray
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
from striate.training._mixing import mix, partners
from striate.training._optimizer import load_state_tensors, make_optimizer, set_rate, state_tensors
from striate.training._pace import Laps, Pace
from striate.training._recipe import Recipe
from striate.training._run import Run
from striate.training._schedule import factor
from striate.training._task import task_of
from striate.training.processes import GradientSum, Share, current, share_batch_norm, share_of

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
        self.processes = current()
        self.watched = error_terms and self.processes.first
        self.run, self.data, self.listener, self.stop = run, data, listener, stop
        self.recipe = run.recipe
        self.device = torch.device(self.processes.device(run.device))
        self.model = fresh_model(self.recipe, data).to(self.device)
        # what computes the model here: itself, or a faster way
        self.network = run.runtime.network(self.model, data.preprocessing.input_size)
        if run.runtime.channels_last and self.network is self.model:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self.model, self.recipe.freeze)
        share_batch_norm(self.model, self.processes)
        self.sum = GradientSum(self.model.parameters(), self.processes)
        self.optimizer = make_optimizer(self.recipe.optimizer, self.model)
        self.average = WeightAverage(self.model, self.recipe.ema) if self.recipe.ema else None
        self.task = task_of(self.recipe, data)
        self.position = Position()
        self.rate = self.recipe.optimizer.lr
        self.train_split = data.splits["train"]
        self.keys = self.train_split.keys
        self.saved = time.monotonic()
        self.sitting = Laps()
        self.stopping = False  # one of the processes was asked to stop, and all know
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
        """Write a checkpoint of this moment: all processes are in the same state, the first one writes."""
        if not self.processes.first:
            return
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
        self.write_metrics()
        log = ErrorTermLog(self.run.error_terms, position.epoch, writes=self.processes.first)
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
                if self.stopping:
                    self.save()
                    self.processes.wait()
                    again = f"striate train --resume {self.run.folder}"
                    raise Interrupted(f"stopped in epoch {position.epoch + 1}; continue with: {again}")
                self.save_if_due(checkpoint_seconds)
            self.end_epoch()
            self.record_error_terms(log)
            self.save_if_due(checkpoint_seconds)
            pace.epoch()
        self.save()

    def rest_of_epoch(self) -> Iterator[tuple[Keys, Tensor, Tensor, Share]]:
        """Return what `step` takes, batch by batch to the end of the epoch, with the model ready for it."""
        size, start = self.recipe.batch_size, self.position.batch
        rows, keys = draws(self.train_split, self.recipe.sampling, self.recipe.seed, self.position.epoch)
        set_training(self.model, self.recipe.freeze)

        def share(batch: int) -> Share:
            return self.share(keys[batch * size :][:size])

        ahead = batches(self.train_split, rows, size, start, part=lambda k, rows: rows[share(k).rows])
        return (
            (keys[k * size :][share(k).rows], images, targets, share(k))
            for k, (_, images, targets) in enumerate(ahead, start)
        )

    def share(self, keys: Keys) -> Share:
        """Return what this process computes of the batch of the pictures with these keys."""
        recipe = self.recipe
        partner = partners(keys, seed=recipe.seed, epoch=self.position.epoch) if recipe.mixing.on else None
        return share_of(len(keys), math.ceil(len(keys) / (recipe.micro_batch or len(keys))), self.processes, partner)

    def step(self, keys: Keys, images: Tensor, targets: Tensor, share: Share | None = None) -> None:
        """Take one training step: everything random in it is a function of the seed and where the run is.

        The pictures are this process's `share` of the batch (None: all of it); what decides anything is of the whole.
        """
        position, recipe, processes = self.position, self.recipe, self.processes
        share = share or self.share(keys)
        stream = f"step {position.step}" + (f" process {processes.rank}" if processes.rank else "")
        seed_of_step(_seed(recipe.seed, stream), self.device)  # for dropout and its like
        inputs, targets = self.augmented(keys, images, targets, share.partner)
        self.rate = self.learning_rate()
        set_rate(self.optimizer, self.rate)
        self.optimizer.zero_grad(set_to_none=True)
        pictures, whole, stop = processes.sums(len(inputs), self.task.count(targets), self.stop())
        value, correct, counted = processes.sums(*self.gradients(inputs, targets, share.parts, int(whole)))
        self.require_sane(value)
        if recipe.optimizer.clip_norm:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimizer.clip_norm)
            self.require_sane(0.0 if bool(norm.isfinite()) else math.nan, "norm of the gradient")
        self.optimizer.step()
        position.step += 1
        position.batch += 1
        if self.average is not None:
            self.average.update(self.model, position.step)
        position.loss_sum += value * pictures
        position.correct += int(correct)
        position.counted += int(counted)
        position.seen += int(pictures)
        self.stopping = stop > 0

    def gradients(
        self, inputs: Tensor, targets: Tensor, parts: tuple[int, ...], whole: int
    ) -> tuple[float, float, float]:
        """Add up the gradients of a batch's loss, part by part and over all processes.

        `whole`: how many targets of the batch count; the loss is a mean over them. Returns this process's share of the
        loss, and how many of its targets were right, of how many.
        """
        value, correct, counted = torch.zeros((), device=self.device), 0, 0
        split = zip(torch.split(inputs, list(parts)), torch.split(targets, list(parts)), strict=True)
        for k, (part, wanted) in enumerate(split, 1):
            outputs, loss = self.outputs_and_loss(part, wanted)
            share = self.task.count(wanted) / whole if whole else 1.0
            self.sum.backward(share * loss, more=k < len(parts))
            if share:  # the mean over nothing is no number
                value += share * loss.detach()
            hits = self.task.hits(outputs, wanted)
            correct, counted = correct + hits[0], counted + hits[1]
        return float(value), correct, counted

    def augmented(
        self, keys: Keys, images: Tensor, targets: Tensor, partner: NDArray[np.int64] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return uint8 images and their targets as the network sees them in this epoch.

        `partner`: which of them the first ones are mixed with, the others being there for that alone (None: all are
        mixed with each other).
        """
        images, targets = images.to(self.device), targets.to(self.device)
        inputs, targets = self.task.augment(images, targets, keys, self.position.epoch)
        if self.recipe.mixing.on:
            inputs, targets = mix(
                inputs,
                targets,
                keys,
                partner,
                classes=len(self.data.classes),
                seed=self.recipe.seed,
                epoch=self.position.epoch,
                options=self.recipe.mixing,
            )
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
                    logits = self.network(inputs)
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
        self.processes.require_same(self.model.state_dict())
        row |= measured.row
        seconds = position.seconds + time.monotonic() - started
        row |= {"seconds": round(seconds, 3), "images_per_second": round(position.seen / position.seconds, 1)}
        row["memory_mib"] = peak_memory(self.device)
        row, score, loss = self.processes.from_first(lambda: [row, measured.score, measured.loss])
        if (score, -loss) > (position.best_accuracy, -position.best_loss):
            position.best_epoch, position.best_accuracy, position.best_loss = position.epoch, score, loss
            if self.processes.first:
                checkpoint.write(self.run.best, self.judged_model().state_dict(), {"epoch": position.epoch + 1})
        position.history.append(row)
        position.epoch, position.batch = position.epoch + 1, 0
        position.loss_sum, position.correct, position.counted, position.seen, position.seconds = 0.0, 0, 0, 0, 0.0
        self.write_metrics()
        self.listener.epoch(row)

    def write_metrics(self) -> None:
        """Write a line for each finished epoch, in the first process."""
        if self.processes.first:
            self.run.write_metrics(self.position.history)

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
        with self.processes.alone():
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


def seed_of_step(seed: int, device: torch.device) -> None:
    """Seed what draws random numbers on a device: for a processor, without looking for others (0.1 ms)."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _seed(seed: int, stream: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest(), "big") >> 1
