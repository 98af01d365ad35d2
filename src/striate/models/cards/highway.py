"""Convolutional highway networks (Srivastava, Greff, Schmidhuber, 2015): tables of parameters."""

from striate.models._card import Card, Published

SRIVASTAVA_2015 = "Srivastava, Greff, Schmidhuber: Highway Networks, arXiv 1505.00387, 2015"
SRIVASTAVA_NIPS = "Srivastava, Greff, Schmidhuber: Training Very Deep Networks, NIPS 2015, arXiv 1507.06228"
_BUILDER = "striate.models.highway:highway"

_AS_RELEASED = "dropout and the biases of the gates, on which the paper is silent, are those of the authors' cifar-19"
_UNIFORM = "a stage has one number of maps, as in the authors' released cifar-19"


def _cifar(number: int, title: str, *departures: str) -> Card:
    return Card(
        f"highway-cifar-{number}",
        _BUILDER,
        title,
        SRIVASTAVA_2015,
        (*departures, _AS_RELEASED),
        row=f"cifar-{number}",
        classes=10,
        size=(32, 32),
    )


def _mnist(width: int) -> Card:
    return Card(
        f"highway-mnist-{width}",
        _BUILDER,
        f"Highway network of 10 layers of {width} maps for MNIST",
        SRIVASTAVA_NIPS,
        row=f"mnist-{width}",
        classes=10,
        channels=1,
        size=(28, 28),
    )


CARDS = (
    _cifar(
        1,
        "Highway 1 (also Highway A): 11 layers after FitNet 1",
        _UNIFORM,
        "the width of the dense layer, 250, is chosen to give the number of parameters: no source has it",
    ),
    _cifar(
        2,
        "Highway 2 (also Highway B): 19 layers after FitNet 4",
        _UNIFORM,
        "the width of the dense layer, 100, is that of the authors' cifar-19: no source has it",
    ),
    _cifar(
        3,
        "Highway 3: 19 thinner layers",
        "32, 64 and 96 maps and a dense layer of 100 are chosen to give the number of parameters: no source has them",
    ),
    _cifar(
        4,
        "Highway 4 (of the size of Highway C): 32 layers of 3 x 3 and 1 x 1 in turn",
        "48, 64 and 88 maps and a dense layer of 100 are chosen to give the number of parameters: no source has them",
    ),
    Card(
        "highway-cifar-19",
        _BUILDER,
        "Highway network of 19 layers with global average for CIFAR-10, as the authors released it",
        SRIVASTAVA_NIPS,
        row="cifar-19",
        classes=10,
        size=(32, 32),
    ),
    _mnist(16),
    _mnist(32),
)

PUBLISHED: tuple[Published, ...] = (
    Published("highway-cifar-1", "parameters", 236_000, "table 1", tolerance=500),
    Published("highway-cifar-2", "parameters", 2_300_000, "table 1", tolerance=50_000),
    Published("highway-cifar-3", "parameters", 1_400_000, "table 1", tolerance=50_000),
    Published("highway-cifar-4", "parameters", 1_250_000, "table 1", tolerance=5_000),
    Published("highway-mnist-16", "parameters", 39_000, "table 1", tolerance=500),
    Published(
        "highway-mnist-32",
        "parameters",
        151_000,
        "table 1",
        tolerance=500,
        ours=151_690,
        departs="the network that the authors released has 151,690: the figure is cut, not rounded",
    ),
)
