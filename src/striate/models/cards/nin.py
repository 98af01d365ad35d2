"""Network in Network (Lin, Chen, Yan, 2013); its sizes are printed in the released definitions only."""

from striate.models._card import Card, Published

LIN_2013 = "Lin, Chen, Yan: Network In Network, 2013 (ICLR 2014)"

_CIFAR10 = "NIN/cifar-10_def of the released cuda-convnet"
_IMAGENET = "train_val.prototxt of nin_imagenet, Caffe Model Zoo"

CARDS = (
    Card(
        "nin-cifar10",
        "striate.models.nin:nin",
        "Network in Network for CIFAR-10: three mlpconv layers",
        LIN_2013,
        row="cifar10",
        classes=10,
        size=(32, 32),
        elsewhere=("the author's Caffe definition for CIFAR-10: the same layers",),
    ),
    Card(
        "nin-imagenet",
        "striate.models.nin:nin",
        "Network in Network for ImageNet: four mlpconv layers",
        LIN_2013,
        row="imagenet",
        elsewhere=("several libraries add batch normalisation; this network has none",),
    ),
)

PUBLISHED: tuple[Published, ...] = (
    # the windows of global average pooling are the size of the last maps
    Published("nin-cifar10", "output_size", (10, 8, 8), f"{_CIFAR10}: cccp6, poolg", layer="mlpconv3"),
    Published("nin-imagenet", "output_size", (1000, 6, 6), f"{_IMAGENET}: cccp8, pool4", layer="mlpconv4"),
)
