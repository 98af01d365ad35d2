"""Series: a usual recipe, and how Wang, Yan and Oates 2017 train their networks."""

from striate.data import DataOptions
from striate.training._recipe import ModelOptions, OptimizerOptions, Recipe, ScheduleOptions

SERIES = DataOptions(kind="signals", channels=0, fit="pad", standardize="training")


def signals() -> Recipe:
    """The fully convolutional network on series of any kind: a usual training of some minutes.

    Departures:
    - a cosine schedule of 60 epochs with averaged weights; the paper trains 2,000 epochs on small sets.
    """
    return Recipe(
        name="signals",
        model=ModelOptions("fcn-1d"),
        data=SERIES,
        optimizer=OptimizerOptions("adamw", lr=0.001, weight_decay=0.01),
        schedule=ScheduleOptions("cosine", warmup=1.0),
        epochs=60,
        batch_size=32,
        ema=0.99,
    )


def wang(name: str, epochs: int) -> Recipe:
    """A network of Wang, Yan and Oates 2017 as the authors' program trains it.

    Departures:
    - the validation error decides when the rate halves, after 50 epochs; the program looks at the training loss.
    - the weights are those of the epoch with the best validation accuracy; the program takes the lowest training loss.
    - batches have 16 series however few there are; the program takes a tenth of the training set where that is less.
    """
    return Recipe(
        name=name,
        model=ModelOptions(name),
        data=SERIES,
        optimizer=OptimizerOptions("adamw", lr=0.001, beta2=0.999, epsilon=1e-8),  # without weight decay: Adam
        schedule=ScheduleOptions("plateau", gamma=0.5, wait=50, final=0.1),  # down to 0.0001
        epochs=epochs,
        batch_size=16,
    )
