"""Inception-v3 (Szegedy et al., 2015): the sizes of table 1 and section 6, the cost stated in the abstract."""

from striate.models._card import Card, Published

_STEM = "the released network: 1 x 1 to 80 maps, 3 x 3 to 192, then pooling; the table: 3 x 3, 3 x 3 / 2, 3 x 3"

CARDS = (
    Card(
        "inception-v3",
        "striate.models.inception_v3:inception_v3",
        "Inception-v3: factorised modules, batch normalisation, an auxiliary classifier",
        "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision, "
        "arXiv 1512.00567, 2015",
        (
            "the filter banks are those of the network that the authors released; the paper prints none",
            "stem: 1 x 1 to 80 maps, 3 x 3 to 192 and maximum pooling, where table 1 has 3 x 3 to 80, 3 x 3 / 2 to 192 "
            "and 3 x 3 to 288",
            "a 5 x 5 branch in the modules at 35 x 35, where figure 5 has two 3 x 3; the first of them gives 256 maps",
            "four modules as in figure 6, where table 1 counts five",
            "the loss of the auxiliary classifier weighs 0.4, as in the released training program",
        ),
        size=(299, 299),
        elsewhere=(
            "torchvision and timm: the same layers and parameters; their 3 x 3 averages count the zeros beyond the "
            "border, as the released network's and ours do not; dropout 0.5 (torchvision)",
            "Keras: no auxiliary classifier, no dropout, batch normalisation without scale",
        ),
    ),
)

PUBLISHED: tuple[Published, ...] = (
    Published("inception-v3", "output_size", (32, 149, 149), "table 1", layer="conv1"),
    Published("inception-v3", "output_size", (32, 147, 147), "table 1", layer="conv2"),
    Published("inception-v3", "output_size", (64, 147, 147), "table 1", layer="conv3"),
    Published("inception-v3", "output_size", (64, 73, 73), "table 1", layer="pool1"),
    Published("inception-v3", "output_size", (80, 71, 71), "table 1", layer="conv4", ours=(80, 73, 73), departs=_STEM),
    Published(
        "inception-v3", "output_size", (192, 35, 35), "table 1", layer="conv5", ours=(192, 71, 71), departs=_STEM
    ),
    Published(
        "inception-v3",
        "output_size",
        (288, 35, 35),
        "section 6",
        layer="inception_fig5_1",
        ours=(256, 35, 35),
        departs="the released network reaches 288 maps with its second module",
    ),
    Published("inception-v3", "output_size", (288, 35, 35), "section 6", layer="inception_fig5_2"),
    Published("inception-v3", "output_size", (288, 35, 35), "section 6", layer="inception_fig5_3"),
    Published("inception-v3", "output_size", (768, 17, 17), "section 6", layer="reduction_fig10_1"),
    Published("inception-v3", "output_size", (768, 17, 17), "table 1", layer="inception_fig6_1"),
    Published("inception-v3", "output_size", (1280, 8, 8), "section 6", layer="reduction_fig10_2"),
    Published("inception-v3", "output_size", (2048, 8, 8), "table 1", layer="inception_fig7_1"),
    Published("inception-v3", "output_size", (2048, 8, 8), "table 1", layer="inception_fig7_2"),
    Published("inception-v3", "output_size", (2048,), "table 1", layer="pool3"),
    Published("inception-v3", "output_size", (1000,), "table 1", layer="linear"),
    Published(
        "inception-v3",
        "macs",
        5_000_000_000,
        "abstract",
        without=("auxiliary",),
        tolerance=500_000_000,
        ours=5_713_216_096,
        departs="the network as released; the paper does not say which of its versions it counts",
    ),
)
