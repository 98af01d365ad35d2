"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998) on handwritten digits."""

from striate.data import LENET_DISTORTIONS, DataOptions
from striate.training._recipe import LossOptions, ModelOptions, OptimizerOptions, Recipe, ScheduleOptions

# The background becomes -0.1 and the foreground 1.175, so that mean and variance are about 0 and 1 (section II.B).
LENET_INPUT = DataOptions(channels=1, size=(28, 28), border=2, mean=(0.1 / 1.275,), std=(1 / 1.275,))


def lenet5() -> Recipe:
    """LeNet-5 on MNIST: the paper's input scaling, MAP criterion (equation 9) and 20 epochs (section III.B).

    Departures:
    - AdamW on batches of 64 with a cosine schedule and averaged weights; the paper takes single samples with a
      stochastic diagonal Levenberg-Marquardt method.
    """
    return Recipe(
        name="lenet5",
        model=ModelOptions("lenet5"),
        data=LENET_INPUT,
        loss=LossOptions("rbf_map", j=1.0),
        optimizer=OptimizerOptions("adamw", lr=3e-3, weight_decay=0.05),
        schedule=ScheduleOptions("cosine", warmup=0.5, final=0.01),
        epochs=20,
        batch_size=64,
        ema=0.999,
    )


def lenet5_distortions() -> Recipe:
    """LeNet-5 on MNIST with the paper's random planar distortions: shift, scale, squeeze and shear (section III.C).

    Departures:
    - the optimiser of `lenet5`.
    - the amounts of the distortions, which the paper does not print.
    """
    return lenet5().replace(name="lenet5-distortions", augmentation=LENET_DISTORTIONS, epochs=30)


def lenet5_modern() -> Recipe:
    """LeNet-5 as usually written today: softmax and cross-entropy.

    Departures:
    - the optimiser of `lenet5`.
    - softmax and cross-entropy instead of the MAP criterion.
    """
    return lenet5().replace(name="lenet5-modern", model=ModelOptions("lenet5-modern"), loss=LossOptions())


def digits() -> Recipe:
    """LeNet-5 of 1998 on scikit-learn's 1,797 digits of 8 x 8 pixels, brought to 28 x 28, lightly distorted.

    Departures:
    - another data set; the rest as `lenet5-distortions`.
    """
    return lenet5().replace(name="digits", augmentation=LENET_DISTORTIONS, epochs=60, batch_size=32, ema=0.995)
