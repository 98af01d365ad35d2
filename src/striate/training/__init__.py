"""Training that can be trusted: `fit` a `Recipe`, `resume` a run exactly."""

from striate.errors import Diverged, Interrupted
from striate.training._disk import require_room
from striate.training._fit import Trained, fit, resume
from striate.training._forecast import Forecast, Taken, read_forecast
from striate.training._initial import InitialWeights, Origin
from striate.training._listener import Listener, Listeners, Step
from striate.training._losses import rbf_map, rbf_mse
from striate.training._lr_range import LrRange, Reading, lr_range
from striate.training._overview import Overview, find_runs, settings_that_differ
from striate.training._plan import CHECKPOINT_SECONDS, forecast
from striate.training._recipe import (
    LossOptions,
    MixingOptions,
    ModelOptions,
    OptimizerOptions,
    Recipe,
    ScheduleOptions,
)
from striate.training._report import report
from striate.training._run import Run
from striate.training._task import require_task
from striate.training._tensorboard import TensorBoard
from striate.training._uses import Use, evaluated, log_use, uses
from striate.training.recipes import RECIPES, default_recipe, departures, named_recipe, smoke

__all__ = [
    "CHECKPOINT_SECONDS",
    "RECIPES",
    "Diverged",
    "Forecast",
    "InitialWeights",
    "Interrupted",
    "Listener",
    "Listeners",
    "LossOptions",
    "LrRange",
    "MixingOptions",
    "ModelOptions",
    "OptimizerOptions",
    "Origin",
    "Overview",
    "Reading",
    "Recipe",
    "Run",
    "ScheduleOptions",
    "Step",
    "Taken",
    "TensorBoard",
    "Trained",
    "Use",
    "default_recipe",
    "departures",
    "evaluated",
    "find_runs",
    "fit",
    "forecast",
    "log_use",
    "lr_range",
    "named_recipe",
    "rbf_map",
    "rbf_mse",
    "read_forecast",
    "report",
    "require_room",
    "require_task",
    "resume",
    "settings_that_differ",
    "smoke",
    "uses",
]
