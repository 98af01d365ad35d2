"""VGG (Simonyan, Zisserman 2014) on ImageNet."""

from striate.data import Augmentation
from striate.training._recipe import ModelOptions, OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import imagenet


def vgg(model: str) -> Recipe:
    """VGG on ImageNet at one scale, S = 256, as table 3 has A, A-LRN and B (section 3.1).

    Departures:
    - crops come from the middle square of a picture, not from the whole.
    - a test picture is seen once, in its middle, not densely (section 3.2).
    - 5 epochs without a lower validation error count as "stopped improving", which the paper leaves open.
    """
    return Recipe(
        name=model,
        model=ModelOptions(model),
        data=imagenet(256),  # "Training image size"
        augmentation=Augmentation(flip=0.5, lighting=0.1),  # "random horizontal flipping and random RGB colour shift"
        optimizer=OptimizerOptions("sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, decay_all=True),
        schedule=ScheduleOptions("plateau", gamma=0.1, final=1e-3),  # "decreased 3 times"
        epochs=74,  # "370K iterations (74 epochs)"
        batch_size=256,
    )


def vgg_jittered(model: str) -> Recipe:
    """VGG on ImageNet with scale jittering, S in [256, 512], the best of table 3 for C, D and E (section 3.1).

    Departures:
    - those of `vgg-a`.
    - pictures are kept at S = 384, the scale of the test (section 4.1), and windows of them are resampled.
    - training starts from random weights, not from a network trained at S = 384.
    """
    jitter = (256 / 384, 512 / 384)
    return vgg(model).replace(data=imagenet(384), augmentation=Augmentation(flip=0.5, lighting=0.1, zoom=jitter))
