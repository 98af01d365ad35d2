"""The typical network of the textbook's figure 5.9; the figure states no numbers."""

from striate.models._card import Card, Published

CARDS = (
    Card(
        "convnet",
        "striate.models.convnet:convnet",
        "The typical convolutional network: blocks of convolutions and pooling, then dense layers",
        "the textbook's figure 5.9",
        ("batch normalisation after each convolution, unless norm='none'",),
        classes=10,
        size=(32, 32),
    ),
)

PUBLISHED: tuple[Published, ...] = ()
