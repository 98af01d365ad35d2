"""Inception-v4 (Szegedy, Ioffe, Vanhoucke, Alemi, 2016, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", arXiv 1602.07261), figures 3 to 9 and table 1.

Departures, where a figure does not fit the others:

- Figure 3 prints no stride at the last convolution of the stem; it is 2, as its output of 35 x 35 needs.
- Figure 5 prints 1 x 7 twice in the branch of three convolutions; ours is 1 x 7, then 7 x 1, as in its other branch
  and as the authors released it.

The paper has no auxiliary classifier.
"""

from torch import nn

from striate.models._chain import Chain, chosen_size, require_flag, require_fraction
from striate.models._inception import Concat, Convolution, Pooling, Row, parts_of
from striate.nn import Conv, Dropout

SIZE, SMALLEST = (299, 299), (75, 75)
AVERAGE, MAX = Pooling("average"), Pooling("max")

STEM = (  # figure 3, also of Inception-ResNet-v2; output, 3 x 299 x 299 ->
    Row("stem_conv1", Convolution(32, 3, 2, "valid")),  # 32 x 149 x 149
    Row("stem_conv2", Convolution(32, 3, 1, "valid")),  # 32 x 147 x 147
    Row("stem_conv3", Convolution(64, 3)),  # 64 x 147 x 147
    Row("stem_concat1", Concat(((MAX,), (Convolution(96, 3, 2, "valid"),)))),  # 160 x 73 x 73
    Row(
        "stem_concat2",  # 192 x 71 x 71
        Concat(
            (
                (Convolution(64), Convolution(96, 3, 1, "valid")),
                (Convolution(64), Convolution(64, (7, 1)), Convolution(64, (1, 7)), Convolution(96, 3, 1, "valid")),
            )
        ),
    ),
    Row("stem_concat3", Concat(((Convolution(192, 3, 2, "valid"),), (MAX,)))),  # 384 x 35 x 35
)

INCEPTION_A = Concat(  # figure 4
    (
        (AVERAGE, Convolution(96)),
        (Convolution(96),),
        (Convolution(64), Convolution(96, 3)),
        (Convolution(64), Convolution(96, 3), Convolution(96, 3)),
    )
)

INCEPTION_B = Concat(  # figure 5
    (
        (AVERAGE, Convolution(128)),
        (Convolution(384),),
        (Convolution(192), Convolution(224, (1, 7)), Convolution(256, (7, 1))),
        (
            Convolution(192),
            Convolution(192, (1, 7)),
            Convolution(224, (7, 1)),
            Convolution(224, (1, 7)),
            Convolution(256, (7, 1)),
        ),
    )
)

CROSS = Concat(((Convolution(256, (1, 3)),), (Convolution(256, (3, 1)),)))
INCEPTION_C = Concat(  # figure 6
    (
        (AVERAGE, Convolution(256)),
        (Convolution(256),),
        (Convolution(384), CROSS),
        (Convolution(384), Convolution(448, (1, 3)), Convolution(512, (3, 1)), CROSS),
    )
)


def reduction_a(k: int, l: int, m: int, n: int) -> Concat:  # noqa: E741 - the letters of table 1
    """Return the reduction of figure 7, with a network's filter numbers from table 1: input + m + n maps."""
    return Concat(
        (
            (MAX,),
            (Convolution(n, 3, 2, "valid"),),
            (Convolution(k), Convolution(l, 3), Convolution(m, 3, 2, "valid")),
        )
    )


REDUCTION_B = Concat(  # figure 8
    (
        (MAX,),
        (Convolution(192), Convolution(192, 3, 2, "valid")),
        (Convolution(256), Convolution(256, (1, 7)), Convolution(320, (7, 1)), Convolution(320, 3, 2, "valid")),
    )
)

INCEPTION_V4 = (  # figure 9
    *STEM,  # 384 x 35 x 35
    Row("inception_a", INCEPTION_A, 4),  # 384 x 35 x 35
    Row("reduction_a", reduction_a(192, 224, 256, 384)),  # 1024 x 17 x 17
    Row("inception_b", INCEPTION_B, 7),  # 1024 x 17 x 17
    Row("reduction_b", REDUCTION_B),  # 1536 x 8 x 8
    Row("inception_c", INCEPTION_C, 3),  # 1536 x 8 x 8
)


class Inception(Chain):
    """A network of this paper from its table: N x C x H x W -> logits N x classes. Raises InputError."""

    def __init__(
        self,
        name: str,
        table: tuple[Row, ...],
        *,
        classes: int,
        channels: int,
        size: tuple[int, int] | None,
        dropout: float,
        recompute: bool,
    ) -> None:
        height, width = chosen_size(name, size, SIZE, SMALLEST)
        parts, maps = parts_of(table, channels)
        again = list(maps) if require_flag(name, "recompute", recompute) else []
        parts["average_pooling"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        parts["dropout"] = Dropout(require_fraction(name, "dropout", dropout))
        parts["linear"] = nn.Linear([*maps.values()][-1], classes)
        super().__init__(name, parts, input_size=(channels, height, width), smallest=SMALLEST, recompute=again)
        for module in self.modules():  # He et al., 2015: the paper is silent, the released networks start so
            if isinstance(module, Conv | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def inception_v4(
    *,
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.2,
    recompute: bool = False,
) -> Inception:
    """Build Inception-v4: 42,679,816 parameters for 1000 classes.

    Images of any size from 75 x 75 on, by default 299 x 299. `dropout` before the classifier (figure 9: keep 0.8);
    `recompute` trades time for memory (gradient checkpointing). Raises InputError for smaller images and unfit options.
    """
    return Inception(
        "inception-v4",
        INCEPTION_V4,
        classes=classes,
        channels=channels,
        size=size,
        dropout=dropout,
        recompute=recompute,
    )
