"""The adaptive deconvolutional network (Zeiler, Taylor, Fergus, 2011): the card. `build` makes no such network."""

from striate.models._card import Card, Published

CARDS = (
    Card(
        "adaptive-deconv",
        "striate.models.adaptive_deconv:AdaptiveDeconv",
        "Adaptive deconvolutional network: layers of convolutional sparse coding with switches",
        "Zeiler, Taylor, Fergus: Adaptive Deconvolutional Networks for Mid and High Level Feature Learning, ICCV 2011",
        (
            "the step of the inference follows the images instead of being a constant of each layer",
            "when a filter is brought back to unit length, its map takes over the length",
            "maps start at 0, not at small random numbers",
            "the default table is small: two layers instead of four",
        ),
        task="unsupervised",
        classes=0,
        channels=1,
        size=(48, 48),
        elsewhere=(
            "the deconvolutional network that visualises a classifier (2014) and the one that segments (2015) are "
            "others: their filters come from labels",
        ),
    ),
)

PUBLISHED: tuple[Published, ...] = ()
