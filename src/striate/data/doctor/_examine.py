"""The examination of a folder of images: every file is read and decoded once, in threads, and nothing is changed."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from striate.data._dataset import Progress
from striate.data._preprocessing import Preprocessing
from striate.data._threads import default_threads
from striate.data.doctor._copies import copies
from striate.data.doctor._findings import Examination, File, worst_first
from striate.data.doctor._pictures import collective, refused, singular
from striate.data.doctor._sheet import Refusal, Sheet, read_sheet
from striate.data.doctor._survey import survey
from striate.data.doctor._whole import class_sizes, statistics
from striate.data.sources.scene_layout import is_scenes
from striate.errors import InputError

LIKE_TRAINING = Preprocessing(3, (96, 96), "crop")  # what the recipe for folders begins with
_CHUNK = 256  # files under way at a time: as long as it takes to stop


def examine(
    root: str | Path,
    *,
    preprocessing: Preprocessing = LIKE_TRAINING,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Examination:
    """Look for whatever may spoil a training in a folder of images, without changing anything.

    Sees the files that `open_data` would see and reports what that would pass over or refuse. `preprocessing` says how
    pictures are decoded for the means and deviations (size, fit and channels matter). What is kept of a file is about
    1.5 kB. Raises InputError if `root` is no folder that can be read, or one of pictures with masks.
    """
    root = Path(root)
    if not root.is_dir():
        what = "is a file" if root.exists() else "is not there"
        raise InputError(f"doctor: {root} {what}: expected a folder of images")
    if is_scenes(root):
        raise InputError(f"doctor: {root} holds pictures with masks: expected a folder of pictures for each class")
    found = survey(root)
    results = _read(root, found.files, preprocessing, threads or default_threads(), progress)
    findings = list(found.findings)
    files: list[File] = []
    sheets: list[Sheet] = []
    for file, result in zip(found.files, results, strict=True):
        if isinstance(result, Refusal):
            findings.append(refused(file.path, result))
        else:
            files.append(file)
            sheets.append(result)
    paths = [file.path for file in files]
    findings += [*class_sizes(files), *singular(paths, sheets), *collective(paths, sheets), *copies(files, sheets)]
    whole = statistics(files, sheets, preprocessing)
    return Examination(str(root), found.counts(), worst_first(findings), whole, tuple(files))


def _read(
    root: Path, files: Sequence[File], preprocessing: Preprocessing, threads: int, progress: Progress | None
) -> list[Sheet | Refusal]:
    results: list[Sheet | Refusal] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # what they warn of becomes a finding, or does not matter
        for start in range(0, len(files), _CHUNK):
            some = files[start : start + _CHUNK]
            for result in pool.map(lambda file: read_sheet(root / file.path, preprocessing), some):
                results.append(result)
                if progress:
                    progress(len(results), len(files), "examining pictures")
    return results
