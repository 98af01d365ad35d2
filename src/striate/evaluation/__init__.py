"""From logits to exact metrics, calibrated probabilities and a report that anyone can open."""

from striate.evaluation._calibration import Bin, Calibration, fit_temperature, probabilities
from striate.evaluation._charts import Series, line_chart, standalone
from striate.evaluation._dense import dense_logits, mask_of
from striate.evaluation._evaluation import ClassScore, Evaluation, Mistake, judge
from striate.evaluation._features import penultimate_features
from striate.evaluation._overlay import overlay, scene_views
from striate.evaluation._predict import logits_of, predict_logits
from striate.evaluation._report import write_report
from striate.evaluation._scenes import (
    PoorPicture,
    RegionScore,
    SceneCounts,
    SceneEvaluation,
    count_scenes,
    evaluation_of,
    judge_scenes,
)
from striate.evaluation._text import duration, percent, printable

__all__ = [
    "Bin",
    "Calibration",
    "ClassScore",
    "Evaluation",
    "Mistake",
    "PoorPicture",
    "RegionScore",
    "SceneCounts",
    "SceneEvaluation",
    "Series",
    "count_scenes",
    "dense_logits",
    "duration",
    "evaluation_of",
    "fit_temperature",
    "judge",
    "judge_scenes",
    "line_chart",
    "logits_of",
    "mask_of",
    "overlay",
    "penultimate_features",
    "percent",
    "predict_logits",
    "printable",
    "probabilities",
    "scene_views",
    "standalone",
    "write_report",
]
