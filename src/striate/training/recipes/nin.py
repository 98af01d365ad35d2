"""Network in Network (Lin, Chen, Yan 2013) on CIFAR-10 and ImageNet."""

from striate.data import Augmentation, DataOptions
from striate.training._recipe import ModelOptions, OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import CIFAR10_MEAN, CIFAR10_STD, imagenet


def nin_cifar10() -> Recipe:
    """Network in Network on CIFAR-10 with translated and mirrored pictures (section 4.1).

    Departures:
    - channels are standardised; global contrast normalisation and ZCA whitening (section 4.1) are not there.
    - the validation error decides when the rate falls, after 10 epochs; the paper looks at the training accuracy.
    - rate, weight decay and number of epochs are those of the released definitions; the paper prints none.
    - pictures move by up to 4 pixels, an amount the paper does not print.
    """
    return Recipe(
        name="nin-cifar10",
        model=ModelOptions("nin-cifar10"),
        data=DataOptions(channels=3, size=(32, 32), mean=CIFAR10_MEAN, std=CIFAR10_STD),
        augmentation=Augmentation(flip=0.5, crop=4),  # section 4.1: "translation and horizontal flipping"
        optimizer=OptimizerOptions("sgd", lr=0.1, momentum=0.9, weight_decay=1e-4),  # released
        schedule=ScheduleOptions("plateau", gamma=0.1, wait=10, final=0.01),  # section 4: "one percent" in the end
        epochs=307,  # released: 120,000 batches
        batch_size=128,  # section 4
    )


def nin_imagenet() -> Recipe:
    """Network in Network on ImageNet, as the authors' released solver trains it; the paper does not describe it.

    Departures:
    - one mean per channel is taken from the pixels, not the mean picture.
    - biases learn at the rate of the weights, not at twice that.
    """
    return Recipe(
        name="nin-imagenet",
        model=ModelOptions("nin-imagenet"),
        data=imagenet(256),
        augmentation=Augmentation(flip=0.5),
        optimizer=OptimizerOptions("sgd", lr=0.01, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleOptions("step", gamma=0.1, milestones=(10.0, 20.0)),  # every 200,000 batches
        epochs=23,  # 450,000 batches
        batch_size=64,
    )
