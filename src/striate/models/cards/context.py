"""Dilated convolutions (Yu, Koltun, ICLR 2016); table 1 states receptive fields: 3 5 9 17 33 65 67 67."""

from striate.models._card import Card, Published

YU_2016 = "Yu, Koltun: Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016"
_ELSEWHERE = (
    "Dilation7, 8 and 10 of the release: context modules with more or fewer layers for KITTI, CamVid and Cityscapes",
    "drn and dilated ResNets of other libraries: later networks of the same name",
)

CARDS = tuple(
    Card(
        name,
        "striate.models.context:dilated",
        title,
        YU_2016,
        row=row,
        task="segmentation",
        classes=21,
        size=(500, 500),
        elsewhere=_ELSEWHERE,
    )
    for name, row, title in (
        ("dilated-frontend", "frontend", "Front end: VGG-16 without its last two poolings, dilated, not padded"),
        ("dilated-context-basic", "basic", "Front end and basic context module: C maps in every layer"),
        ("dilated-context-large", "large", "Front end and large context module: up to 32 C maps"),
    )
)

# table 1 prints receptive fields and multiples of C, no figures of these quantities; the tests hold them
PUBLISHED: tuple[Published, ...] = ()
