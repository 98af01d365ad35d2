"""Inception-ResNet (Szegedy et al., 2016): sizes beside figures 3, 14, 15, filters of the expansions in the others."""

from striate.models._card import Card, Published
from striate.models.cards.inception_v4 import STEM_STRIDE, SZEGEDY_2016

_EXPANSION = "the expansion has the depth of the input that it is added to, as section 3.2 states"

CARDS = (
    Card(
        "inception-resnet-v1",
        "striate.models.inception_resnet:inception_resnet",
        "Inception-ResNet-v1: residual modules, about the cost of Inception-v3",
        SZEGEDY_2016,
        row="v1",
        size=(299, 299),
        elsewhere=(
            "facenet: a further module at 8 x 8, unscaled and without its ReLU; an embedding instead of the classifier",
        ),
    ),
    Card(
        "inception-resnet-v2",
        "striate.models.inception_resnet:inception_resnet",
        "Inception-ResNet-v2: wider residual modules behind the stem of Inception-v4",
        SZEGEDY_2016,
        (
            STEM_STRIDE,
            "the expansions at 17 x 17 give 1152 maps, the depth of their input; figure 17 prints 1154",
            "the expansions at 8 x 8 give 2144 maps, the depth of their input; figure 19 prints 2048",
        ),
        row="v2",
        size=(299, 299),
        elsewhere=(
            "TensorFlow-Slim, Keras, timm and others: 10, 20 and 10 modules instead of 5, 10 and 5",
            "there, a stem like version 1's up to 192 maps, pooling, and a module that gives 320 maps; so the grids "
            "have 320, 1088 and 2080 maps instead of 384, 1152 and 2144",
            "there, the last module is unscaled and without ReLU, and a 1 x 1 convolution to 1536 maps follows",
        ),
    ),
)

PUBLISHED: tuple[Published, ...] = (
    Published("inception-resnet-v1", "output_size", (32, 149, 149), "figure 14", layer="stem_conv1"),
    Published("inception-resnet-v1", "output_size", (32, 147, 147), "figure 14", layer="stem_conv2"),
    Published("inception-resnet-v1", "output_size", (64, 147, 147), "figure 14", layer="stem_conv3"),
    Published("inception-resnet-v1", "output_size", (64, 73, 73), "figure 14", layer="stem_pool"),
    Published("inception-resnet-v1", "output_size", (80, 73, 73), "figure 14", layer="stem_conv4"),
    Published("inception-resnet-v1", "output_size", (192, 71, 71), "figure 14", layer="stem_conv5"),
    Published("inception-resnet-v1", "output_size", (256, 35, 35), "figures 14 and 15", layer="stem_conv6"),
    Published("inception-resnet-v1", "output_size", (256, 35, 35), "figure 10", layer="inception_resnet_a1.expansion"),
    Published("inception-resnet-v1", "output_size", (256, 35, 35), "figure 15", layer="inception_resnet_a5"),
    Published("inception-resnet-v1", "output_size", (896, 17, 17), "figure 15", layer="reduction_a"),
    Published("inception-resnet-v1", "output_size", (896, 17, 17), "figure 11", layer="inception_resnet_b1.expansion"),
    Published("inception-resnet-v1", "output_size", (896, 17, 17), "figure 15", layer="inception_resnet_b10"),
    Published("inception-resnet-v1", "output_size", (1792, 8, 8), "figure 15", layer="reduction_b"),
    Published("inception-resnet-v1", "output_size", (1792, 8, 8), "figure 13", layer="inception_resnet_c1.expansion"),
    Published("inception-resnet-v1", "output_size", (1792, 8, 8), "figure 15", layer="inception_resnet_c5"),
    Published("inception-resnet-v1", "output_size", (1792,), "figure 15", layer="average_pooling"),
    Published("inception-resnet-v1", "output_size", (1000,), "figure 15", layer="linear"),
    Published("inception-resnet-v2", "output_size", (160, 73, 73), "figure 3", layer="stem_concat1"),
    Published("inception-resnet-v2", "output_size", (192, 71, 71), "figure 3", layer="stem_concat2"),
    Published("inception-resnet-v2", "output_size", (384, 35, 35), "figure 3", layer="stem_concat3"),
    Published("inception-resnet-v2", "output_size", (384, 35, 35), "figure 16", layer="inception_resnet_a1.expansion"),
    Published(
        "inception-resnet-v2",
        "output_size",
        (1154, 17, 17),
        "figure 17",
        layer="inception_resnet_b1.expansion",
        ours=(1152, 17, 17),
        departs=_EXPANSION,
    ),
    Published(
        "inception-resnet-v2",
        "output_size",
        (2048, 8, 8),
        "figure 19",
        layer="inception_resnet_c1.expansion",
        ours=(2144, 8, 8),
        departs=_EXPANSION,
    ),
)
