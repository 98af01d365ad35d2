"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) on ImageNet."""

from striate.data import Augmentation
from striate.training._recipe import ModelOptions, OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import imagenet


def alexnet() -> Recipe:
    """AlexNet on ImageNet: the training of Krizhevsky et al. 2012.

    Departures:
    - one mean per channel is taken from the pixels, not the mean picture.
    - the colours' axes and variances are those that fb.resnet.torch published; the paper prints none.
    - 5 epochs without a lower validation error count as "stopped improving", which the paper leaves to the eye.
    """
    return Recipe(
        name="alexnet",
        model=ModelOptions("alexnet"),
        data=imagenet(256),  # section 2: the shorter side 256, the central 256 x 256 patch; 4.1: 224 x 224 of it
        augmentation=Augmentation(flip=0.5, lighting=0.1),  # section 4.1
        optimizer=OptimizerOptions("sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, decay_all=True),  # section 5
        schedule=ScheduleOptions("plateau", gamma=0.1, final=1e-3),  # section 5: "reduced three times"
        epochs=90,  # section 5: "roughly 90 cycles"
        batch_size=128,  # section 5
    )


def alexnet_single() -> Recipe:
    """The single-path AlexNet of 2014 on ImageNet, trained as that of 2012.

    Departures:
    - those of `alexnet`.
    - the paper of 2014 is about many devices with large batches; that is not restated.
    """
    return alexnet().replace(name="alexnet-single", model=ModelOptions("alexnet-single"))
