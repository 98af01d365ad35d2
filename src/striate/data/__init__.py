"""From files on disk to batches: sources, class map, decoding, keyed randomness, augmentation."""

from striate.data.augmentation import LENET_DISTORTIONS, Augmentation, augment
from striate.data.batches import Batch, batches
from striate.data.catalog import KNOWN, KnownSet, RemoteFile
from striate.data.classmap import ClassMap
from striate.data.dataset import ImageData, Progress, Unreadable
from striate.data.decode import ImageError, decode_image, fit_array
from striate.data.opening import open_data, open_for_evaluation
from striate.data.options import DataOptions
from striate.data.preprocessing import Preprocessing
from striate.data.randomness import sample_keys, shuffled, uniform
from striate.data.splits import ArraySplit, FolderSplit, ImageSplit

__all__ = [
    "KNOWN",
    "LENET_DISTORTIONS",
    "ArraySplit",
    "Augmentation",
    "Batch",
    "ClassMap",
    "DataOptions",
    "FolderSplit",
    "ImageData",
    "ImageError",
    "ImageSplit",
    "KnownSet",
    "Preprocessing",
    "Progress",
    "RemoteFile",
    "Unreadable",
    "augment",
    "batches",
    "decode_image",
    "fit_array",
    "open_data",
    "open_for_evaluation",
    "sample_keys",
    "shuffled",
    "uniform",
]
