"""The neocognitron (Fukushima, 1980): the card. `build` makes no such network, so no figures stand here."""

from striate.models._card import Card, Published

CARDS = (
    Card(
        "neocognitron",
        "striate.models.neocognitron:Neocognitron",
        "Neocognitron as simulated in 1980: S-cells and C-cells, learning without labels",
        "Fukushima: Neocognitron: A Self-organizing Neural Network Model for a Mechanism of Pattern Recognition "
        "Unaffected by Shift in Position, Biological Cybernetics 36, 1980",
        (),
        task="unsupervised",
        classes=0,
        channels=1,
        size=(16, 16),
        elsewhere=(
            "what is called so is often a convolutional network with pooling, trained on labels: it has neither the "
            "shunting inhibition nor the competition of the S-columns",
        ),
    ),
)

PUBLISHED: tuple[Published, ...] = ()
