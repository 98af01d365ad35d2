"""Inception-v4 (Szegedy et al., 2016): the sizes printed beside figures 3 and 9."""

from striate.models._card import Card, Published

SZEGEDY_2016 = (
    "Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on "
    "Learning, arXiv 1602.07261, 2016"
)
STEM_STRIDE = "the last convolution of the stem has stride 2, as its output size needs; figure 3 prints none"

CARDS = (
    Card(
        "inception-v4",
        "striate.models.inception_v4:inception_v4",
        "Inception-v4: uniform modules at each grid size",
        SZEGEDY_2016,
        (
            STEM_STRIDE,
            "the branch of figure 5 with three convolutions is 1 x 1, 1 x 7, 7 x 1; the figure prints 1 x 7 twice",
        ),
        size=(299, 299),
        elsewhere=(
            "TensorFlow-Slim, timm and others: as many parameters, but 1 x 7 before 7 x 1 in the stem, 7 x 1 before "
            "1 x 7 in the long branch of the modules at 17 x 17 and 3 x 1 before 1 x 3 at 8 x 8",
            "TensorFlow-Slim: an auxiliary classifier, which the paper does not have",
        ),
    ),
)

PUBLISHED: tuple[Published, ...] = (
    Published("inception-v4", "output_size", (32, 149, 149), "figure 3", layer="stem_conv1"),
    Published("inception-v4", "output_size", (32, 147, 147), "figure 3", layer="stem_conv2"),
    Published("inception-v4", "output_size", (64, 147, 147), "figure 3", layer="stem_conv3"),
    Published("inception-v4", "output_size", (160, 73, 73), "figure 3", layer="stem_concat1"),
    Published("inception-v4", "output_size", (192, 71, 71), "figure 3", layer="stem_concat2"),
    Published("inception-v4", "output_size", (384, 35, 35), "figures 3 and 9", layer="stem_concat3"),
    Published("inception-v4", "output_size", (384, 35, 35), "figure 9", layer="inception_a4"),
    Published("inception-v4", "output_size", (1024, 17, 17), "figure 9", layer="reduction_a"),
    Published("inception-v4", "output_size", (1024, 17, 17), "figure 9", layer="inception_b7"),
    Published("inception-v4", "output_size", (1536, 8, 8), "figure 9", layer="reduction_b"),
    Published("inception-v4", "output_size", (1536, 8, 8), "figure 9", layer="inception_c3"),
    Published("inception-v4", "output_size", (1536,), "figure 9", layer="average_pooling"),
    Published("inception-v4", "output_size", (1000,), "figure 9", layer="linear"),
)
