"""The one file that ships: save, load, verify, predict."""

from striate.bundle._bundle import Bundle, load, save
from striate.bundle._from_run import save_trained
from striate.bundle._initial import initial_weights
from striate.bundle._predict import Prediction
from striate.bundle._prepared import prepare
from striate.bundle._segment import Segmented, require_distinct, write_segmented
from striate.bundle._sources import find_images
from striate.bundle._verify import Verification, verify

__all__ = [
    "Bundle",
    "Prediction",
    "Segmented",
    "Verification",
    "find_images",
    "initial_weights",
    "load",
    "prepare",
    "require_distinct",
    "save",
    "save_trained",
    "verify",
    "write_segmented",
]
