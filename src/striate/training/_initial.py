"""Weights that a training begins with: of a file, or of the best epoch of a run."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor, nn

from striate.data import ClassMap, ImageData, Preparation
from striate.errors import InputError, StriateError
from striate.files import sha256_of
from striate.models import LoadReport, load_weights
from striate.models._weight_files import Weights, read_weights
from striate.training._recipe import ModelOptions, Recipe
from striate.training._report import best_model
from striate.training._run import Run


class Origin(NamedTuple):
    """What a run or a bundle says of its weights."""

    model: ModelOptions
    classes: ClassMap
    preprocessing: Preparation


class InitialWeights(NamedTuple):
    """Named tensors, the SHA-256 of the file that holds them, and what is known of how they came to be."""

    weights: Weights
    sha256: str
    origin: Origin | None = None

    @classmethod
    def of_file(cls, path: Path) -> "InitialWeights":
        """Read a safetensors file or a state dict that torch.save wrote; raises InputError."""
        return cls(read_weights(path), sha256_of(path))

    @classmethod
    def of_tensors(cls, name: str, tensors: Mapping[str, Tensor]) -> "InitialWeights":
        """Take a state dict; `name` is what the run records of it, beside the SHA-256 of it as a safetensors file."""
        whole = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        return cls(Weights(name, whole, True), hashlib.sha256(save(whole)).hexdigest())

    @classmethod
    def of_run(cls, folder: Path) -> "InitialWeights":
        """Read the weights of a run's best epoch so far; raises InputError."""
        run = Run.open(folder)
        try:
            model = best_model(run)
        except StriateError as error:
            raise InputError(str(error)) from error
        if model is None:
            raise InputError(f"{folder}: this run has finished no epoch yet; it has no weights to begin from")
        origin = Origin(run.recipe.model, run.classes, run.recipe.data.preparation())
        return cls(Weights(str(folder), model.state_dict(), True), sha256_of(run.best), origin)

    def recipe(self, recipe: Recipe, model: str) -> Recipe:
        """Return a recipe that goes on from a run or bundle: its preprocessing and, if it is `model`, its network."""
        if self.origin is None:
            return recipe
        network = self.origin.model if model == self.origin.model.name else recipe.model
        return recipe.replace(model=network, data=recipe.data.like(self.origin.preprocessing))

    def give(self, model: nn.Module) -> LoadReport:
        """Give a network the weights, layers for other classes and layers that it has more left as they are.

        Raises InputError, with the network untouched, where the weights are of another network.
        """
        return load_weights(model, self.weights, skip_head=True, added=True)

    def to_json(self, report: LoadReport) -> dict[str, Any]:
        """Return what a run records: the source, its SHA-256, and what became of each tensor."""
        return {"source": self.weights.file, "sha256": self.sha256, **report.to_json()}

    def remarks(self, data: ImageData) -> list[str]:
        """Return sentences on how the data differs from what the weights were trained on."""
        if self.origin is None:
            return []
        found = []
        there, here = self.origin.preprocessing.to_json(), data.preprocessing.to_json()
        if differ := [f"{key} {there.get(key)} there, {here[key]} here" for key in here if there.get(key) != here[key]]:
            found.append(f"{self.weights.file} was trained on data prepared otherwise: {'; '.join(differ)}")
        if len(self.origin.classes) == len(data.classes) and list(self.origin.classes) != list(data.classes):
            found.append(
                f"{self.weights.file} has as many classes with other names; its last layer is where this one begins"
            )
        return found
