"""Fully convolutional networks (Shelhamer, Long, Darrell): table 1 of the CVPR 2015 paper."""

from striate.models._card import Card, Published

LONG_2015 = (
    "Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015; "
    "Shelhamer, Long, Darrell, PAMI 39(4), 2017"
)
_ELSEWHERE = (
    "torchvision's fcn_resnet50 and fcn_resnet101: a dilated ResNet with a 3 x 3 head and one bilinear enlargement, "
    "no skips: the name, not the network",
    "many ports keep the doubling layers fixed, as the released training does; the paper says that they are learned",
)

CARDS = tuple(
    Card(
        f"fcn-{row}",
        "striate.models.fcn:fcn",
        title,
        LONG_2015,
        row=row,
        task="segmentation",
        classes=21,
        size=(500, 500),
        elsewhere=_ELSEWHERE,
    )
    for row, title in (
        ("32s", "FCN-32s: VGG-16 made convolutional, its scores enlarged 32 times"),
        ("16s", "FCN-16s: FCN-32s and the scores of pool4"),
        ("8s", "FCN-8s: FCN-16s and the scores of pool3"),
    )
)

PUBLISHED: tuple[Published, ...] = (
    # printed as 134M, with a receptive field of 404 and a largest stride of 32
    Published("fcn-32s", "parameters", 134_000_000, "table 1 (CVPR 2015)", tolerance=500_000),
)
