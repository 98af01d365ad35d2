"""From files on disk to batches: sources, class map, decoding, keyed randomness, augmentation."""

from striate.data._augmentation import LENET_DISTORTIONS, Augmentation, augment
from striate.data._batches import Batch, batches
from striate.data._cache import Cache, amount, cache_folder, decoded_anew
from striate.data._catalog import KNOWN, KnownSet, RemoteFile
from striate.data._classmap import ClassMap
from striate.data._dataset import ImageData, Progress, Unreadable
from striate.data._decode import ImageError, decode_image, fit_array, own_size, read_picture
from striate.data._exclusion import read_exclusion, write_exclusion
from striate.data._joint import augment_scenes, on_canvas
from striate.data._masks import VOID, Masks, fit_mask, inner_box, read_mask, write_mask
from striate.data._opening import holds_scenes, lasting, open_data, open_for_evaluation
from striate.data._options import DataOptions
from striate.data._preprocessing import Preparation, Preprocessing, require_pictures
from striate.data._randaugment import OPERATIONS
from striate.data._randomness import sample_keys, shuffled, uniform
from striate.data._sampling import Draws, Sampling, draws
from striate.data._scenes import SceneSplit, require_scenes
from striate.data._series import SERIES_ENDINGS, decode_series
from striate.data._shard_writing import write_shards
from striate.data._shards import ShardSplit
from striate.data._signals import SignalPreprocessing, augment_signals, preparation_from_json
from striate.data._splits import ArraySplit, FolderSplit, ImageSplit
from striate.data.sources.layout import count_training
from striate.data.sources.scene_layout import count_scenes
from striate.data.sources.shard_files import is_shards
from striate.data.sources.signals import is_signals

__all__ = [
    "KNOWN",
    "LENET_DISTORTIONS",
    "OPERATIONS",
    "SERIES_ENDINGS",
    "VOID",
    "ArraySplit",
    "Augmentation",
    "Batch",
    "Cache",
    "ClassMap",
    "DataOptions",
    "Draws",
    "FolderSplit",
    "ImageData",
    "ImageError",
    "ImageSplit",
    "KnownSet",
    "Masks",
    "Preparation",
    "Preprocessing",
    "Progress",
    "RemoteFile",
    "Sampling",
    "SceneSplit",
    "ShardSplit",
    "SignalPreprocessing",
    "Unreadable",
    "amount",
    "augment",
    "augment_scenes",
    "augment_signals",
    "batches",
    "cache_folder",
    "count_scenes",
    "count_training",
    "decode_image",
    "decode_series",
    "decoded_anew",
    "draws",
    "fit_array",
    "fit_mask",
    "holds_scenes",
    "inner_box",
    "is_shards",
    "is_signals",
    "lasting",
    "on_canvas",
    "open_data",
    "open_for_evaluation",
    "own_size",
    "preparation_from_json",
    "read_exclusion",
    "read_mask",
    "read_picture",
    "require_pictures",
    "require_scenes",
    "sample_keys",
    "shuffled",
    "uniform",
    "write_exclusion",
    "write_mask",
    "write_shards",
]
