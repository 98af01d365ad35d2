"""From picture files to predictions: decoding in threads, constant memory, no picture stops the rest."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from striate.data import ImageError, Preparation, Preprocessing, SignalPreprocessing, decode_image, decode_series
from striate.evaluation import logits_of, probabilities

if TYPE_CHECKING:
    from striate.bundle._bundle import Bundle

Picture = npt.NDArray[Any]  # or a series
Decoding = Future[Picture | str]  # the picture, or why there is none


class Prediction(NamedTuple):
    """What a model says about a picture; where it cannot be read, `error` says why and the rest is empty."""

    path: Path
    label: str | None
    probability: float | None  # calibrated, 0..1
    top: list[tuple[str, float]]  # the likeliest classes with their probabilities; the first is `label`
    error: str | None = None


def predictions(
    bundle: "Bundle", paths: Sequence[Path], batch_size: int, top: int, threads: int
) -> Iterator[Prediction]:
    """Yield a prediction for each path, in order; no more than two batches of pictures are held."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[list[tuple[Path, Decoding]]] = deque()

    def decode(path: Path) -> Picture | str:
        try:
            return _decoded(path, bundle.preprocessing)
        except ImageError as error:
            return error.reason

    try:
        for start in range(0, len(paths), batch_size):
            waiting.append([(path, pool.submit(decode, path)) for path in paths[start : start + batch_size]])
            if len(waiting) == 2:  # one is being decoded while the other is predicted
                yield from _predict_batch(bundle, waiting.popleft(), top)
        if waiting:
            yield from _predict_batch(bundle, waiting.popleft(), top)
    finally:
        pool.shutdown(cancel_futures=True)


def _decoded(path: Path, preprocessing: Preparation) -> Picture:
    if isinstance(preprocessing, SignalPreprocessing):
        return decode_series(path, preprocessing)
    assert isinstance(preprocessing, Preprocessing)
    return decode_image(path, preprocessing)


def _predict_batch(bundle: "Bundle", batch: list[tuple[Path, Decoding]], top: int) -> Iterator[Prediction]:
    decoded = [(path, decoding.result()) for path, decoding in batch]
    pictures = [picture for _, picture in decoded if not isinstance(picture, str)]
    chances: Iterator[npt.NDArray[np.float64]] = iter(())
    if pictures:
        logits = logits_of(bundle.network(), np.stack(pictures), bundle.preprocessing)
        chances = iter(probabilities(logits, bundle.temperature))
    for path, picture in decoded:
        if isinstance(picture, str):
            yield Prediction(path, None, None, [], picture)
        else:
            chance = next(chances)
            order = np.argsort(-chance, kind="stable")[:top]
            best = [(bundle.classes.names[k], float(chance[k])) for k in order]
            yield Prediction(path, *best[0], best)
