"""Inception-v3 (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, 2015, "Rethinking the Inception Architecture").

Table 1 of the paper outlines Inception-v2; table 3 adds RMSProp, label smoothing, factorised 7 x 7 and the auxiliary
classifier with batch normalisation, and calls the sum Inception-v3. The paper leaves the filter banks of its modules to
a file beside it; the authors' own implementation of the finished network (TensorFlow models, `inception_v3`) has them
all, and is what this file builds.

Departures from table 1, all of them the released network's:

- The third and fourth convolution behind the first pooling: 1 x 1 to 80 maps and 3 x 3 to 192, then a maximum over
  3 x 3 at stride 2. The table has 3 x 3 to 80, 3 x 3 / 2 to 192, and another 3 x 3 to 288.
- The modules at 35 x 35 have a 5 x 5 branch beside the two 3 x 3 of figure 5 (section 6 of the paper calls them
  traditional); the first gives 256 maps instead of 288.
- Four modules as in figure 6 follow the reduction to 17 x 17, where the table counts five.
- The auxiliary head is the released one (5 x 5 average pooling, 128 and 768 filters).

Label smoothing of 0.1 (section 7) belongs to the recipe, not to the network.
"""

from torch import Tensor, nn

from striate.models._chain import Chain, chosen_size, require_flag, require_fraction, require_images
from striate.models._inception import Concat, ConvNorm, Convolution, Pooling, Row, parts_of
from striate.nn import AvgPool, Conv, Dropout

SIZE, SMALLEST = (299, 299), (75, 75)
AUXILIARY_WEIGHT = 0.4  # of its loss, in the released training program (`inception_model.loss`); not in the paper
AUXILIARY_AFTER = "inception_fig6_4"  # figure 8: on top of the last 17 x 17 layer
AUXILIARY_GRID = 17
AVERAGE, MAX = Pooling("average"), Pooling("max")


def figure_5(pool: int) -> Concat:
    """Return a module at 35 x 35: 64 + 64 + 96 + `pool` maps."""
    return Concat(
        (
            (Convolution(64),),
            (Convolution(48), Convolution(64, 5)),
            (Convolution(64), Convolution(96, 3), Convolution(96, 3)),
            (AVERAGE, Convolution(pool)),
        )
    )


def figure_6(inner: int) -> Concat:
    """Return a module at 17 x 17, n = 7: 4 x 192 maps, `inner` maps between the factors of the 7 x 7 filters."""
    return Concat(
        (
            (Convolution(192),),
            (Convolution(inner), Convolution(inner, (1, 7)), Convolution(192, (7, 1))),
            (
                Convolution(inner),
                Convolution(inner, (7, 1)),
                Convolution(inner, (1, 7)),
                Convolution(inner, (7, 1)),
                Convolution(192, (1, 7)),
            ),
            (AVERAGE, Convolution(192)),
        )
    )


# Figure 7: the outputs of the expanded filter bank, 1 x 3 and 3 x 1 side by side.
EXPANDED = Concat(((Convolution(384, (1, 3)),), (Convolution(384, (3, 1)),)))
FIGURE_7 = Concat(
    (
        (Convolution(320),),
        (Convolution(384), EXPANDED),
        (Convolution(448), Convolution(384, 3), EXPANDED),
        (AVERAGE, Convolution(192)),
    )
)
FIGURE_10_TO_17 = Concat(
    (
        (Convolution(384, 3, 2, "valid"),),
        (Convolution(64), Convolution(96, 3), Convolution(96, 3, 2, "valid")),
        (MAX,),
    )
)
FIGURE_10_TO_8 = Concat(
    (
        (Convolution(192), Convolution(320, 3, 2, "valid")),
        (Convolution(192), Convolution(192, (1, 7)), Convolution(192, (7, 1)), Convolution(192, 3, 2, "valid")),
        (MAX,),
    )
)

INCEPTION_V3 = (  # output, 3 x 299 x 299 ->                                name in the released network
    Row("conv1", Convolution(32, 3, 2, "valid")),  # 32 x 149 x 149         Conv2d_1a_3x3
    Row("conv2", Convolution(32, 3, 1, "valid")),  # 32 x 147 x 147         Conv2d_2a_3x3
    Row("conv3", Convolution(64, 3)),  # 64 x 147 x 147, "conv padded"      Conv2d_2b_3x3
    Row("pool1", MAX),  # 64 x 73 x 73
    Row("conv4", Convolution(80)),  # 80 x 73 x 73                          Conv2d_3b_1x1
    Row("conv5", Convolution(192, 3, 1, "valid")),  # 192 x 71 x 71         Conv2d_4a_3x3
    Row("pool2", MAX),  # 192 x 35 x 35
    Row("inception_fig5_1", figure_5(pool=32)),  # 256 x 35 x 35            Mixed_5b
    Row("inception_fig5_2", figure_5(pool=64)),  # 288 x 35 x 35            Mixed_5c
    Row("inception_fig5_3", figure_5(pool=64)),  # 288 x 35 x 35            Mixed_5d
    Row("reduction_fig10_1", FIGURE_10_TO_17),  # 768 x 17 x 17             Mixed_6a
    Row("inception_fig6_1", figure_6(inner=128)),  # 768 x 17 x 17          Mixed_6b
    Row("inception_fig6_2", figure_6(inner=160)),  # 768 x 17 x 17          Mixed_6c
    Row("inception_fig6_3", figure_6(inner=160)),  # 768 x 17 x 17          Mixed_6d
    Row("inception_fig6_4", figure_6(inner=192)),  # 768 x 17 x 17          Mixed_6e
    Row("reduction_fig10_2", FIGURE_10_TO_8),  # 1280 x 8 x 8               Mixed_7a
    Row("inception_fig7_1", FIGURE_7),  # 2048 x 8 x 8                      Mixed_7b
    Row("inception_fig7_2", FIGURE_7),  # 2048 x 8 x 8                      Mixed_7c
)


class AuxiliaryClassifier(nn.Module):
    """The side head of figure 8, with batch normalisation: N x C x h x w -> logits N x classes.

    Smaller maps than the paper's 17 x 17 are pooled to the 5 x 5 that its filters need.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = AvgPool(5, stride=3)
        self.pool_small = nn.AdaptiveAvgPool2d(5)
        self.conv1 = ConvNorm(channels, 128, 1)
        self.conv2 = ConvNorm(128, 768, 5, padding="valid")
        self.average = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        small = min(x.shape[2:]) < AUXILIARY_GRID
        x = self.pool_small(x) if small else self.pool(x)  # C x 5 x 5 from 17 x 17
        x = self.conv2(self.conv1(x))  # 768 x 1 x 1
        logits: Tensor = self.linear(self.average(x).flatten(1))
        return logits


class InceptionV3(Chain):
    """Inception-v3 from its table: N x C x H x W -> logits N x classes; an auxiliary classifier while training."""

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        size: tuple[int, int],
        dropout: float,
        auxiliary: bool,
        recompute: bool,
    ) -> None:
        parts, maps = parts_of(INCEPTION_V3, channels)
        again = list(maps) if recompute else []
        parts["pool3"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        parts["dropout"] = Dropout(dropout)
        parts["linear"] = nn.Linear(maps["inception_fig7_2"], classes)
        super().__init__("inception-v3", parts, input_size=(channels, *size), smallest=SMALLEST, recompute=again)
        self.auxiliary = AuxiliaryClassifier(maps[AUXILIARY_AFTER], classes) if auxiliary else None
        self.auxiliary_weights = {"auxiliary": AUXILIARY_WEIGHT} if auxiliary else {}

    def forward_auxiliaries(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits and those of the auxiliary classifier, as "auxiliary"."""
        require_images(self.name, x, self.input_size, self.smallest)
        logits: dict[str, Tensor] = {}
        for part in self.order:
            x = self.run_part(part, x)
            if part == AUXILIARY_AFTER and self.auxiliary is not None:
                logits["auxiliary"] = self.auxiliary(x)
        return x, logits


def inception_v3(
    *,
    classes: int = 1000,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    dropout: float = 0.2,
    auxiliary: bool = True,
    recompute: bool = False,
) -> InceptionV3:
    """Build Inception-v3: 23,834,568 parameters for 1000 classes, and 3,326,696 of the auxiliary classifier.

    Images of any size from 75 x 75 on, by default 299 x 299. `dropout` before the classifier, as released (keep 0.8);
    `auxiliary` with or without the auxiliary classifier; `recompute` trades time for memory (gradient checkpointing).
    Weights start as in the released network. Raises InputError for smaller images and unfit options.
    """
    model = InceptionV3(
        classes=classes,
        channels=channels,
        size=chosen_size("inception-v3", size, SIZE, SMALLEST),
        dropout=require_fraction("inception-v3", "dropout", dropout),
        auxiliary=require_flag("inception-v3", "auxiliary", auxiliary),
        recompute=require_flag("inception-v3", "recompute", recompute),
    )
    initialize(model)
    return model


def initialize(model: InceptionV3) -> None:
    """Draw weights from normal distributions cut at two standard deviations, as the released network does."""
    for name, module in model.named_modules():
        if isinstance(module, Conv | nn.Linear):
            std = 0.1 if isinstance(module, Conv) else 0.01
            std = {"auxiliary.conv2.conv": 0.01, "auxiliary.linear": 0.001}.get(name, std)
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
