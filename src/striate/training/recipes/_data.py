"""The data of the papers as a recipe states it: what the pictures of ImageNet and CIFAR-10 become."""

from striate.data import DataOptions

# Means (and deviations) of the RGB values, scaled to 0..1, over the training pictures.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
CIFAR10_MEAN, CIFAR10_STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)

PIXEL = (1 / 255,)  # as `std`: values in 0..255, which only the mean is taken from


def imagenet(scale: int, seen: int = 224) -> DataOptions:
    """Return photographs whose shorter side is `scale`, their middle square kept; the network sees `seen` x `seen`."""
    return DataOptions(channels=3, size=(scale, scale), fit="crop", mean=IMAGENET_MEAN, std=PIXEL, crop_to=(seen, seen))
