"""The typical network of the textbook's figure 5.9 on small images and photographs: no paper, our choices."""

from striate.data import LENET_DISTORTIONS, Augmentation, DataOptions
from striate.training._recipe import LossOptions, ModelOptions, OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import CIFAR10_MEAN, CIFAR10_STD
from striate.training.recipes.lenet5 import LENET_INPUT


def small_images() -> Recipe:
    """The typical network on small grey images such as Fashion-MNIST's."""
    return Recipe(
        name="small-images",
        model=ModelOptions("convnet", {"blocks": [[2, 32, 1], [2, 64, 1], [2, 128, 0]], "dropout": 0.2}),
        data=DataOptions(channels=1, size=(28, 28), mean=(0.286,), std=(0.353,)),
        augmentation=Augmentation(flip=0.5, crop=2),
        loss=LossOptions(label_smoothing=0.1),
        optimizer=OptimizerOptions("sgd", lr=0.1, weight_decay=5e-4, nesterov=True),
        schedule=ScheduleOptions("cosine", warmup=1.0),
        epochs=12,
        batch_size=128,
        ema=0.995,
    )


def digits_convnet() -> Recipe:
    """The typical network on digits: LeNet's input and distortions, no flips."""
    return small_images().replace(name="digits-convnet", data=LENET_INPUT, augmentation=LENET_DISTORTIONS)


def small_color_images() -> Recipe:
    """The typical network on small colour images such as CIFAR-10's."""
    return small_images().replace(
        name="small-color-images",
        model=ModelOptions("convnet", {"blocks": [[2, 64, 1], [2, 128, 1], [2, 256, 1]], "dropout": 0.2}),
        data=DataOptions(channels=3, size=(32, 32), mean=CIFAR10_MEAN, std=CIFAR10_STD),
        augmentation=Augmentation(flip=0.5, crop=4),
        epochs=20,
    )


def photos() -> Recipe:
    """The typical network on a folder of photographs, cut to 96 x 96.

    The first block halves the picture twice, so that most of the time goes into what is found in it; `default_recipe`
    chooses the epochs by the number of pictures.
    """
    return small_color_images().replace(
        name="photos",
        model=ModelOptions(
            "convnet",
            {"blocks": [[1, 32, 2], [2, 64, 1], [2, 128, 1], [2, 256, 1], [2, 256, 0]], "dropout": 0.2},
        ),
        data=DataOptions(channels=3, size=(96, 96), fit="crop", mean=(0.5,), std=(0.25,)),
        augmentation=Augmentation(
            flip=0.5, area=(0.4, 1.0), aspect=4 / 3, brightness=0.3, contrast=0.3, saturation=0.3
        ),
        optimizer=OptimizerOptions("sgd", lr=0.05, weight_decay=5e-4, nesterov=True),
        epochs=40,
        batch_size=32,
    )
