"""ResNet (He, Zhang, Ren, Sun, 2015): table 1."""

from striate.models._card import Card, Published

HE_2015 = "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, arXiv 1512.03385, 2015"

_V1_5 = ("the stride of conv3_1, conv4_1 and conv5_1 is in the 3 x 3 convolution, not in the 1 x 1 before it",)
_ELSEWHERE = {
    "18": ("torchvision: resnet18, which starts convolutions from N(0, 2 / fan-out)",),
    "34": ("torchvision: resnet34, which starts convolutions from N(0, 2 / fan-out)",),
    "50": ("torchvision: resnet50 is the row 50-v1.5", "timm: resnet50 is the row 50-v1.5"),
    "101": ("torchvision: resnet101 is the row 101-v1.5",),
    "152": ("torchvision: resnet152 is the row 152-v1.5",),
}

CARDS = tuple(
    Card(
        f"resnet-{row}",
        "striate.models.resnet:resnet",
        f"ResNet of {row} layers for ImageNet",
        HE_2015,
        row=row,
        elsewhere=elsewhere,
    )
    for row, elsewhere in _ELSEWHERE.items()
) + tuple(
    Card(
        f"resnet-{layers}-v1.5",
        "striate.models.resnet:resnet",
        f"ResNet of {layers} layers as most libraries have it",
        HE_2015,
        _V1_5,
        row=f"{layers}-v1.5",
        elsewhere=(f"torchvision: resnet{layers}, which starts convolutions from N(0, 2 / fan-out)",),
    )
    for layers in (50, 101, 152)
)

# Table 1: the last block of each stage has the stage's output size.
_BLOCKS = {
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
}
_MAPS = {
    "18": (64, 128, 256, 512),
    "34": (64, 128, 256, 512),
    "50": (256, 512, 1024, 2048),
    "101": (256, 512, 1024, 2048),
    "152": (256, 512, 1024, 2048),
}
_SIZES = (56, 28, 14, 7)

PUBLISHED: tuple[Published, ...] = (
    *(Published(f"resnet-{row}", "output_size", (64, 112, 112), "table 1", layer="conv1") for row in _BLOCKS),
    *(
        Published(f"resnet-{row}", "output_size", (maps, size, size), "table 1", layer=f"conv{stage}_{count}")
        for row, counts in _BLOCKS.items()
        for stage, (count, maps, size) in enumerate(zip(counts, _MAPS[row], _SIZES, strict=True), 2)
    ),
    # "FLOPs (multiply-adds)"
    Published("resnet-18", "macs", 1_800_000_000, "table 1", tolerance=50_000_000),
    Published(
        "resnet-34",
        "macs",
        3_600_000_000,
        "table 1",
        tolerance=50_000_000,
        ours=3_663_761_408,
        departs="the figure is that of shortcuts without parameters (option A, 3.64 x 10^9); ours are projections "
        "where the maps grow (option B), 19 x 10^6 more",
    ),
    Published(
        "resnet-50",
        "macs",
        3_800_000_000,
        "table 1",
        tolerance=50_000_000,
        ours=3_857_973_248,
        departs="the layers of the table make 3.86 x 10^9: the figure is cut, not rounded",
    ),
    Published("resnet-101", "macs", 7_600_000_000, "table 1", tolerance=50_000_000),
    Published("resnet-152", "macs", 11_300_000_000, "table 1", tolerance=50_000_000),
)
