"""The last step of training: the run's best model as a bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from striate.bundle._bundle import save

if TYPE_CHECKING:
    from striate.training import Run, Trained

GOLDEN = 16  # pictures that the bundle verifies itself with
GOLDEN_SCENES = 4  # of scenes, which are larger and have outputs for each place


def save_trained(trained: "Trained") -> Path:
    """Write the run's bundle, `model.striate` in its folder, and return its path.

    The golden pictures are spread over the classes of the test split; they are part of the file that ships. Raises
    StriateError if the disk is full; what was there before is untouched then.
    """
    run, split = trained.run, trained.data.splits["test"]
    save(
        run.bundle,
        model_name=run.recipe.model.name,
        model_options=run.recipe.model.options,
        state=trained.model.state_dict(),
        classes=trained.data.classes,
        preprocessing=trained.data.preprocessing,
        temperature=trained.temperature,
        metrics={"split": "test", **trained.evaluation.to_json()},
        provenance={
            "data": Path(trained.data.name).name,
            "fingerprint": run.fingerprint,
            "recipe": run.recipe.to_json(),
            "device": run.device,
            "runtime": run.runtime.to_json(),
            "started": run.created,
            **_began_with(run),
            "epochs": len(trained.history),
        },
        golden_images=split.load(_spread(split.labels, GOLDEN if trained.data.masks is None else GOLDEN_SCENES)),
        masks=trained.data.masks,
    )
    return run.bundle


def _began_with(run: "Run") -> dict[str, Any]:
    """Return the weights that the run began with: the name of the file, no path of this machine, and its SHA-256."""
    if run.initial is None:
        return {}
    return {"began_with": {"name": Path(run.initial["source"]).name, "sha256": run.initial["sha256"]}}


def _spread(labels: npt.NDArray[np.int64], count: int) -> Sequence[int]:
    """Return up to `count` indices: the first picture of each class, then the second of each, and so on."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    return [int(i) for i in np.argsort(rank, kind="stable")[:count]]
