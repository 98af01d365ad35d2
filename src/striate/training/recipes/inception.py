"""GoogLeNet and the Inception networks (Szegedy et al. 2014, 2015, 2016) on ImageNet."""

from striate.data import Augmentation, DataOptions
from striate.training._recipe import LossOptions, ModelOptions, OptimizerOptions, Recipe, ScheduleOptions
from striate.training.recipes._data import imagenet

# Inception's released pictures: values from -1 to 1; the middle 87.5 per cent of a test picture.
INPUT = DataOptions(channels=3, size=(342, 342), fit="crop", mean=(0.5,), std=(0.5,), crop_to=(299, 299))


def googlenet(model: str) -> Recipe:
    """GoogLeNet on ImageNet: patches of 8 to 100 per cent of the area, photometric distortions (section 6).

    Departures:
    - one process instead of asynchronous gradient descent on many machines (section 6).
    - rate, batch and weight decay are those of the replication in Caffe (bvlc_googlenet); the paper prints none.
    - 250 epochs, also of that replication.
    - patches come from the middle square of a picture; those of any aspect have the area that was drawn.
    - resampling is bilinear; the paper's mixture of methods, added late, is left out.
    """
    return Recipe(
        name=model,
        model=ModelOptions(model),
        data=imagenet(256),
        augmentation=Augmentation(  # section 6; the distortions of Howard 2013, which it names
            flip=0.5, area=(0.08, 1.0), aspect=4 / 3, brightness=0.5, contrast=0.5, saturation=0.5
        ),
        optimizer=OptimizerOptions("sgd", lr=0.01, momentum=0.9, weight_decay=2e-4),  # momentum: section 6
        schedule=ScheduleOptions("exponential", gamma=0.96, every=8.0),  # section 6: "by 4% every 8 epochs"
        epochs=250,
        batch_size=32,
        ema=0.9999,  # section 6: "Polyak averaging"
    )


def inception_v3() -> Recipe:
    """Inception-v3 on ImageNet: RMSProp, label smoothing, clipped gradients (sections 7 and 8).

    Departures:
    - one process instead of 50 replicas.
    - PyTorch adds epsilon to the root of the mean square, TensorFlow to the mean square below it.
    - momentum, weight decay and distortions are those of the released program; the paper prints none. Hue stays, and
      brightness multiplies where that program adds.
    """
    return Recipe(
        name="inception-v3",
        model=ModelOptions("inception-v3"),
        data=INPUT,
        augmentation=Augmentation(
            flip=0.5, area=(0.05, 1.0), aspect=4 / 3, brightness=32 / 255, contrast=0.5, saturation=0.5
        ),
        loss=LossOptions(label_smoothing=0.1),  # section 7
        optimizer=OptimizerOptions(  # section 8: "RMSProp with decay of 0.9 and epsilon = 1.0", rate, threshold
            "rmsprop", lr=0.045, momentum=0.9, beta2=0.9, epsilon=1.0, weight_decay=4e-5, clip_norm=2.0
        ),
        schedule=ScheduleOptions("exponential", gamma=0.94, every=2.0),  # section 8
        epochs=100,  # section 8
        batch_size=32,  # section 8
        ema=0.9999,  # section 8: "a running average of the parameters"; its decay is the released program's
    )


def inception_v4(model: str) -> Recipe:
    """Inception-v4 and the Inception-ResNets on ImageNet: RMSProp with the rate of Inception-v3 (section 4).

    Departures:
    - one process instead of 20 replicas.
    - PyTorch adds epsilon to the root of the mean square, TensorFlow to the mean square below it.
    - batch, epochs, label smoothing, momentum, weight decay and distortions are those of `inception-v3`; the paper
      prints none.
    """
    recipe = inception_v3()
    optimizer = OptimizerOptions(  # section 4; no clipping
        "rmsprop", lr=0.045, momentum=0.9, beta2=0.9, epsilon=1.0, weight_decay=4e-5
    )
    return recipe.replace(name=model, model=ModelOptions(model), optimizer=optimizer)
