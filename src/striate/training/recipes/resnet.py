"""Residual networks (He, Zhang, Ren, Sun 2015, 2016) on ImageNet and CIFAR-10."""

import math

from striate.data import Augmentation, DataOptions
from striate.training._recipe import ModelOptions, OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import CIFAR10_MEAN, PIXEL, imagenet

SCALE = 368  # the middle of the range of scales: pictures are kept so
JITTER = (256 / SCALE, 480 / SCALE)
BATCHES = math.ceil(45_000 / 128)  # in an epoch of CIFAR-10 without its validation pictures
SGD = OptimizerOptions("sgd", lr=0.1, momentum=0.9, weight_decay=1e-4, decay_all=True)  # of all these networks


def resnet(model: str) -> Recipe:
    """ResNet on ImageNet (He et al. 2015, section 3.4).

    Departures:
    - crops come from the middle square of a picture, kept at a shorter side of 368 and resampled.
    - one mean per channel is taken from the pixels, not the mean picture.
    - a test picture is seen once, in its middle at that scale, not in ten crops.
    - 5 epochs without a lower validation error count as a plateau, which the paper leaves to the eye.
    """
    return Recipe(
        name=model,
        model=ModelOptions(model),
        data=imagenet(SCALE),
        # "shorter side randomly sampled in [256, 480] for scale augmentation", "standard color augmentation in [21]"
        augmentation=Augmentation(flip=0.5, zoom=JITTER, lighting=0.1),
        optimizer=SGD,
        schedule=ScheduleOptions("plateau", gamma=0.1),  # "divided by 10 when the error plateaus"
        epochs=120,  # "60 x 10^4 iterations"
        batch_size=256,
    )


def resnet_cifar(model: str) -> Recipe:
    """ResNet on CIFAR-10 (He et al. 2015, section 4.2).

    Departures:
    - one mean per channel is taken from the pixels, not the mean picture.
    """
    return Recipe(
        name=model,
        model=ModelOptions(model),
        data=DataOptions(  # "a 45k/5k train/val split"
            channels=3, size=(32, 32), mean=CIFAR10_MEAN, std=PIXEL, val_fraction=0.1
        ),
        augmentation=Augmentation(flip=0.5, crop=4),  # "4 pixels are padded on each side"
        optimizer=SGD,
        schedule=ScheduleOptions("step", gamma=0.1, milestones=(32_000 / BATCHES, 48_000 / BATCHES)),
        epochs=math.ceil(64_000 / BATCHES),  # "terminate training at 64k iterations"
        batch_size=128,
    )


def resnet_cifar_warm(model: str) -> Recipe:
    """ResNet-110 and deeper on CIFAR-10, which begin at a rate of 0.01 (He et al. 2015, section 4.2).

    Departures:
    - one mean per channel is taken from the pixels, not the mean picture.
    - the rate goes to 0.1 after 400 batches, the paper's "about 400 iterations"; its rule is a training error below
      80 %.
    """
    return resnet_cifar(model).replace(schedule=_warm())


def preact_resnet_cifar(model: str) -> Recipe:
    """Pre-activation ResNet on CIFAR-10 (He et al. 2016, appendix): 0.01 in the first 400 batches, then 0.1.

    Departures:
    - one mean per channel is taken from the pixels, not the mean picture.
    """
    return resnet_cifar(model).replace(schedule=_warm())


def preact_resnet(model: str) -> Recipe:
    """Pre-activation ResNet-200 on ImageNet with scale augmentation (He et al. 2016, table 5 and appendix).

    Departures:
    - those of `resnet-18`, but for the plateau.
    - 90 epochs: the paper has the rate fall at 30 and 60 and does not print the end.
    """
    return resnet(model).replace(schedule=ScheduleOptions("step", gamma=0.1, milestones=(30.0, 60.0)), epochs=90)


def _warm() -> ScheduleOptions:
    milestones = (32_000 / BATCHES, 48_000 / BATCHES)
    return ScheduleOptions("step", gamma=0.1, milestones=milestones, warmup=400 / BATCHES, warmup_rate=0.1)
