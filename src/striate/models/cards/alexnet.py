"""AlexNet (Krizhevsky, Sutskever, Hinton, 2012): figure 2.

Its caption counts the neurons of the layers, 253,440 - 186,624 - 64,896 - 64,896 - 43,264 - 4096 - 4096 - 1000; the
first is not that of the 96 maps of 55 x 55 which the figure itself shows: they have 290,400.
"""

from striate.models._card import Card, Published

KRIZHEVSKY_2012 = "Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012"
KRIZHEVSKY_2014 = "Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014"

CARDS = (
    Card(
        "alexnet",
        "striate.models.alexnet:alexnet",
        "AlexNet: two paths that meet at the third convolution and in the dense layers",
        KRIZHEVSKY_2012,
        row="two-paths",
        elsewhere=(
            "torchvision: the row alexnet-single, by the name alexnet",
            "Caffe's bvlc_alexnet: takes 227 x 227 images; its response normalisation runs across both halves, with "
            "k = 1 and alpha divided by 5",
        ),
    ),
    Card(
        "alexnet-single",
        "striate.models.alexnet:alexnet",
        "AlexNet in one path, as torchvision has it",
        KRIZHEVSKY_2014,
        (
            "no response normalisation",
            "padding 2 on both sides of the images instead of windows that hang over one end",
            "dropout before the first two dense layers instead of after them",
        ),
        row="single",
        elsewhere=("torchvision: alexnet; it starts from PyTorch's default weights, ours from those of 2012",),
    ),
)

_FIGURE2 = {  # of each half
    "conv1": (48, 55, 55),
    "conv2": (128, 27, 27),
    "conv3": (192, 13, 13),
    "conv4": (192, 13, 13),
    "conv5": (128, 13, 13),
    "fc6": (2048,),
    "fc7": (2048,),
}

PUBLISHED: tuple[Published, ...] = (
    *(
        Published("alexnet", "output_size", size, "figure 2", layer=f"{path}.{layer}")
        for path in ("path1", "path2")
        for layer, size in _FIGURE2.items()
    ),
    Published("alexnet", "output_size", (1000,), "figure 2", layer="fc8"),
    Published("alexnet", "parameters", 60_000_000, "abstract: 60 million", tolerance=5_000_000),
)
