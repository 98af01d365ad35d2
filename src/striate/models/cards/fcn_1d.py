"""Networks for series (Wang, Yan, Oates, 2017); the paper draws their structure and prints no totals."""

from striate.models._card import Card, Published

WANG_2017 = (
    "Wang, Yan, Oates: Time Series Classification from Scratch with Deep Neural Networks: A Strong Baseline, 2017 "
    "(IJCNN)"
)

CARDS = (
    Card(
        "fcn-1d",
        "striate.models.fcn_1d:fcn_1d",
        "Fully convolutional network for series: convolutions of 8, 5 and 3, mean over time",
        WANG_2017,
        classes=2,
        channels=1,
        size=(128,),
        elsewhere=("the authors' program: the same layers",),
    ),
    Card(
        "resnet-1d",
        "striate.models.fcn_1d:resnet_1d",
        "Residual network for series: three blocks of three convolutions",
        WANG_2017,
        classes=2,
        channels=1,
        size=(128,),
        elsewhere=("the authors' program normalises the input of the first convolution as well, the paper does not",),
    ),
)

PUBLISHED: tuple[Published, ...] = ()
