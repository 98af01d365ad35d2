"""Weights to begin a training with, wherever they are."""

from pathlib import Path
from typing import TYPE_CHECKING

from striate.bundle._archive import is_archive
from striate.bundle._bundle import load
from striate.errors import InputError
from striate.files import sha256_of

if TYPE_CHECKING:
    from striate.training import InitialWeights


def initial_weights(path: str | Path) -> "InitialWeights":
    """Read weights from a run's folder (of its best epoch), a bundle, or a file of any library.

    Files are safetensors, or state dicts that torch.save wrote (see `striate.models.load_weights`). Raises InputError.
    """
    from striate.models._weight_files import Weights
    from striate.training import InitialWeights, ModelOptions, Origin  # not needed to predict, and takes its time

    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder; give the folder of a run, a bundle (.striate) or a file of weights "
            "(safetensors, or a state dict of PyTorch)"
        )
    if path.is_dir():
        return InitialWeights.of_run(path)
    if not is_archive(path):
        return InitialWeights.of_file(path)
    bundle = load(path)
    origin = Origin(ModelOptions(bundle.model_name, bundle.model_options), bundle.classes, bundle.preprocessing)
    return InitialWeights(Weights(str(path), bundle.model.state_dict(), True), sha256_of(path), origin)
