"""GoogLeNet (Szegedy et al., 2014): table 1.

Its column "ops" counts multiplications, in millions. Its column "params" counts weights without biases in units of
1,024 (conv2 has 112 x 1,024 of them, the last layer 1,000 x 1,024), sometimes cut, sometimes rounded; several of its
rows do not follow from their own maps, though the ops of the same rows do.
"""

from typing import NamedTuple

from striate.models._card import Card, Published

SZEGEDY_2014 = "Szegedy et al.: Going Deeper with Convolutions, 2014 (CVPR 2015)"

CARDS = (
    Card(
        "googlenet",
        "striate.models.googlenet:googlenet",
        "GoogLeNet (Inception v1): 9 modules, 22 layers, two auxiliary classifiers",
        SZEGEDY_2014,
        row="paper",
        elsewhere=(
            "torchvision: the row googlenet-torchvision",
            "Caffe's bvlc_googlenet: this network; local response normalisation and initialisation are its",
        ),
    ),
    Card(
        "googlenet-torchvision",
        "striate.models.googlenet:googlenet",
        "GoogLeNet as torchvision has it",
        SZEGEDY_2014,
        (
            "batch normalisation after every convolution instead of biases, and no local response normalisation",
            "the branch of 5 x 5 convolutions has 3 x 3 kernels",
            "the fourth pooling has 2 x 2 windows instead of 3 x 3",
            "the auxiliary classifiers average adaptively to 4 x 4 instead of over 5 x 5 windows with stride 3",
            "dropout 0.2 instead of 0.4 before the last layer",
        ),
        row="torchvision",
        elsewhere=("torchvision: googlenet; its pretrained weights come without trained auxiliary classifiers",),
    ),
)


class _Row(NamedTuple):
    """A row of table 1: our name, output size, params (units of 1,024) and ops (millions) as printed, None if blank.

    `params_ours` and `ops_ours` are given where the printed figures do not follow from the row's own maps.
    """

    layer: str
    output: tuple[int, ...]
    params: float | None = None
    ops: int | None = None
    params_ours: int | None = None
    ops_ours: int | None = None


_TABLE1 = (
    _Row("conv1", (64, 112, 112), 2.7, 34, 9_472, 118_013_952),
    _Row("pool1", (64, 56, 56)),
    _Row("conv2", (192, 56, 56), 112, 360),
    _Row("pool2", (192, 28, 28)),
    _Row("inception_3a", (256, 28, 28), 159, 128),
    _Row("inception_3b", (480, 28, 28), 380, 304),
    _Row("pool3", (480, 14, 14)),
    _Row("inception_4a", (512, 14, 14), 364, 73, 376_176),
    _Row("inception_4b", (512, 14, 14), 437, 88, 449_160),
    _Row("inception_4c", (512, 14, 14), 463, 100, 510_104),
    _Row("inception_4d", (528, 14, 14), 580, 119, 605_376),
    _Row("inception_4e", (832, 14, 14), 840, 170, 868_352),
    _Row("pool4", (832, 7, 7)),
    _Row("inception_5a", (832, 7, 7), 1072, 54, 1_043_456, 51_079_168),
    _Row("inception_5b", (1024, 7, 7), 1388, 71, 1_444_080),
    _Row("pool5", (1024, 1, 1)),
    _Row("dropout", (1024, 1, 1)),
    _Row("linear", (1000,), 1000, 1),
)


def _figures(row: _Row) -> list[Published]:
    figures = [Published("googlenet", "output_size", row.output, "table 1", layer=row.layer)]
    why = "the printed figure does not follow from the row's own maps and kernels"
    if row.params is not None:
        figures.append(
            Published(
                "googlenet",
                "parameters",
                round(row.params * 1024),
                "table 1",
                layer=row.layer,
                tolerance=1024,  # the biases, which it leaves out, and its cutting of digits
                ours=row.params_ours,
                departs=why if row.params_ours else "",
            )
        )
    if row.ops is not None:
        figures.append(
            Published(
                "googlenet",
                "macs",
                row.ops * 1_000_000,
                "table 1",
                layer=row.layer,
                tolerance=1_000_000 if row.layer == "inception_4a" else 500_000,  # 73.6 million is printed as 73M
                ours=row.ops_ours,
                departs=why if row.ops_ours else "",
            )
        )
    return figures


PUBLISHED: tuple[Published, ...] = tuple(figure for row in _TABLE1 for figure in _figures(row))
