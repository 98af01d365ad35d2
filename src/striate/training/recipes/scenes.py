"""Pictures with masks: our own recipe for folders of scenes, and how the papers train FCN and DeepLab."""

import math
from dataclasses import replace

from striate.data import Augmentation, DataOptions
from striate.training._recipe import ModelOptions, OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import IMAGENET_MEAN, PIXEL

VOC_AUGMENTED = 10_582  # training pictures of PASCAL VOC 2012 with the masks of Hariharan et al. 2011
_VOC = DataOptions(channels=3, size=(500, 500), fit="pad", mean=IMAGENET_MEAN, std=PIXEL, task="segmentation")


def scenes() -> Recipe:
    """A small DeepLab v2 from nothing, on a few hundred pictures, in minutes on a laptop's processor.

    Departures:
    - all is our own choice: an eighth of the network's width, AdamW, a cosine schedule, 20 epochs.
    - pictures are fitted into 144 x 192; windows are mirrored, scaled and changed in brightness, contrast, saturation.
    """
    return Recipe(
        name="scenes",
        model=ModelOptions("deeplab-v2-resnet101", {"width": 0.125}),
        data=DataOptions(
            channels=3,
            size=(144, 192),
            fit="pad",
            mean=IMAGENET_MEAN,
            std=(0.25,),
            crop_to=(113, 145),  # at stride 8, scores lie on the first and the last pixel
            task="segmentation",
        ),
        augmentation=Augmentation(flip=0.5, zoom=(0.75, 1.3), brightness=0.3, contrast=0.3, saturation=0.3),
        optimizer=OptimizerOptions("adamw", lr=3e-3, weight_decay=1e-2),
        schedule=ScheduleOptions("cosine", warmup=1.0, final=0.01),
        epochs=20,
        batch_size=8,
    )


def fcn(model: str) -> Recipe:
    """FCN on PASCAL VOC (Long et al. 2015, section 4.3): the coarsest network, FCN-32s.

    Departures:
    - training starts from random weights, not from a VGG-16 trained on ImageNet, unless weights are given.
    - pictures are fitted into 500 x 500, black and void around them, not taken at their own sizes.
    - biases learn at the rate of the weights, not at twice that rate.
    - the epoch of the best validation mean IoU is kept; the paper reports the best results after convergence.
    """
    return Recipe(
        name=model,
        model=ModelOptions(model),
        data=_VOC,
        augmentation=Augmentation(),  # "yielded no noticeable improvement"
        optimizer=OptimizerOptions("sgd", lr=1e-4, momentum=0.9, weight_decay=5e-4, decay_all=True),
        schedule=ScheduleOptions("constant"),  # "fixed learning rates"
        epochs=175,  # "at least 175 epochs", table 1
        batch_size=20,
    )


def fcn_finer(model: str) -> Recipe:
    """FCN-16s and FCN-8s, each from the trained coarser network (Long et al. 2015, section 4.2).

    Departures:
    - those of `fcn-32s`; here the weights to be given are those of the coarser network.
    - the number of epochs, which the paper does not print.
    """
    recipe = fcn(model)
    return recipe.set(["optimizer.lr=1e-6"])  # "decreased by a factor of 100"


def deeplab_v1(model: str) -> Recipe:
    """DeepLab-LargeFOV on PASCAL VOC (Chen et al. 2015, section 5).

    Departures:
    - training starts from random weights, not from a VGG-16 trained on ImageNet, unless weights are given.
    - all layers learn at one rate; the paper's classifier learns ten times as fast.
    - scores are compared with labels at the input's size, not with labels subsampled 8 times.
    - mirror images and windows of 321 x 321 are those of the released network, as is the end after 6000 iterations.
    """
    batches = math.ceil(VOC_AUGMENTED / 20)
    return Recipe(
        name=model,
        model=ModelOptions(model),
        data=replace(_VOC, crop_to=(321, 321)),
        augmentation=Augmentation(flip=0.5),
        optimizer=OptimizerOptions("sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4, decay_all=True),
        schedule=ScheduleOptions("step", gamma=0.1, milestones=(2000 / batches, 4000 / batches)),
        epochs=11,
        batch_size=20,
    )


def deeplab_v2(model: str) -> Recipe:
    """DeepLab v2 on PASCAL VOC (Chen et al. 2018, section 4.1): the "poly" schedule, 20,000 iterations of 10 windows.

    Departures:
    - training starts from random weights, not from a network trained on ImageNet, unless weights are given.
    - all layers learn at one rate; the paper's classifier learns ten times as fast.
    - scores are compared with labels at the input's size, not with labels subsampled 8 times.
    - the rate is that of the first version.
    """
    poly = ScheduleOptions("polynomial", power=0.9)
    return deeplab_v1(model).replace(schedule=poly, epochs=19, batch_size=10)


def deeplab_v2_resnet(model: str) -> Recipe:
    """DeepLab v2 on ResNet-101 (Chen et al. 2018, section 4.1.2).

    Departures:
    - those of `deeplab-v2-vgg16`, but the rate is that of the released ResNet.
    - windows reach no further than the picture, so that scaling by 0.5 ends at 0.64.
    - normalisation learns with the rest; the paper keeps that of ImageNet.
    """
    scaled = Augmentation(flip=0.5, zoom=(0.5, 1.5))  # "randomly scaling the input images (from 0.5 to 1.5)"
    return deeplab_v2(model).replace(augmentation=scaled).set(["optimizer.lr=2.5e-4"])
