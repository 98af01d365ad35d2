"""ResNet for CIFAR-10 (He, Zhang, Ren, Sun, 2015): section 4.2, table 6."""

from striate.models._card import Card, Published
from striate.models.cards.resnet import HE_2015

# table 6: layers, parameters in units of 10,000 and to how many of them they are rounded
_TABLE6 = {"20": (27, 1), "32": (46, 1), "44": (66, 1), "56": (85, 1), "110": (170, 10), "1202": (1940, 10)}

CARDS = tuple(
    Card(
        f"resnet-cifar-{row}",
        "striate.models.resnet_cifar:resnet_cifar",
        f"ResNet of {row} layers for CIFAR-10",
        HE_2015,
        row=row,
        classes=10,
        size=(32, 32),
        elsewhere=(
            "many repositories have projections (option B) instead of shortcuts without parameters: 2,752 numbers more",
        ),
    )
    for row in _TABLE6
)

PUBLISHED: tuple[Published, ...] = (
    *(
        Published(f"resnet-cifar-{row}", "parameters", count * 10_000, "table 6", tolerance=unit * 5_000)
        for row, (count, unit) in _TABLE6.items()
    ),
    *(
        Published(
            f"resnet-cifar-{row}",
            "output_size",
            (maps, size, size),
            "the table in section 4.2",
            layer=f"conv{stage}_{(int(row) - 2) // 6}",
        )
        for row in _TABLE6
        for stage, maps, size in ((2, 16, 32), (3, 32, 16), (4, 64, 8))
    ),
)
