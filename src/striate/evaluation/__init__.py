"""From logits to exact metrics, calibrated probabilities and a report that anyone can open."""

from striate.evaluation._calibration import Bin, Calibration, fit_temperature
from striate.evaluation._evaluation import ClassScore, Evaluation, Mistake, judge
from striate.evaluation._predict import predict_logits

__all__ = [
    "Bin",
    "Calibration",
    "ClassScore",
    "Evaluation",
    "Mistake",
    "fit_temperature",
    "judge",
    "predict_logits",
]
