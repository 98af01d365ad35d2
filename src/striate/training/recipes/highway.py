"""Convolutional highway networks (Srivastava, Greff, Schmidhuber 2015) on CIFAR-10 and MNIST."""

from dataclasses import replace

from striate.data import Augmentation, DataOptions
from striate.training._recipe import ModelOptions, OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import CIFAR10_MEAN, CIFAR10_STD


def highway_cifar(model: str) -> Recipe:
    """Highway networks on CIFAR-10, as the authors' released solver trains the one of 19 layers.

    Departures:
    - channels are standardised; global contrast normalisation is not there.
    - biases learn at the rate of the weights, not at twice that; the last layer has no tenfold weight decay.
    - a twelfth of the training pictures is set aside; the released run has them all, in 500 batches an epoch.
    """
    return Recipe(
        name=model,
        model=ModelOptions(model),
        data=DataOptions(channels=3, size=(32, 32), mean=CIFAR10_MEAN, std=CIFAR10_STD),
        augmentation=Augmentation(flip=0.5, crop=8),  # "padded with 8 pixels each side", cropped, mirrored
        optimizer=OptimizerOptions("sgd", lr=0.025, momentum=0.9, nesterov=True, weight_decay=1e-3),
        schedule=ScheduleOptions("step", gamma=0.1, milestones=(200.0, 300.0, 350.0)),  # 100, 150, 175 thousand
        epochs=400,  # 200,000 batches
        batch_size=100,
    )


def highway_cifar_dense(model: str) -> Recipe:
    """Highway networks 1 to 4 on CIFAR-10, for which nothing is released: the training of the one of 19 layers.

    Departures:
    - those of `highway-cifar-19`.
    - gradients are clipped at a norm of 1: without it the first ten batches put out the units behind the dense layer.
    """
    recipe = highway_cifar(model)
    return recipe.replace(optimizer=replace(recipe.optimizer, clip_norm=1.0))


def highway_mnist(model: str) -> Recipe:
    """Highway networks of 10 layers on MNIST, as the authors' released solver trains the one of 32 maps.

    Departures:
    - biases learn at the rate of the weights, not at twice that; the last layer has no tenfold weight decay.
    - a twelfth of the training pictures is set aside; the released run has them all, in 600 batches an epoch.
    """
    return Recipe(
        name=model,
        model=ModelOptions(model),
        data=DataOptions(channels=1, size=(28, 28), mean=(0.0,), std=(256 / 255,)),  # scale: 0.00390625
        optimizer=OptimizerOptions("sgd", lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3),
        schedule=ScheduleOptions("step", gamma=0.1, milestones=(100.0, 200.0)),  # 60 and 120 thousand batches
        epochs=300,  # 180,000 batches
        batch_size=100,
    )
