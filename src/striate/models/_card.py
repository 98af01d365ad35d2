"""What is known of a network before it is built: data, no torch."""

from typing import Literal, NamedTuple

Task = Literal["classification", "segmentation", "unsupervised"]
Quantity = Literal["parameters", "connections", "neurons", "macs", "output_size"]


class Card(NamedTuple):
    """What a network is and where it comes from."""

    name: str
    builder: str  # "module:function"
    title: str
    paper: str
    departures: tuple[str, ...] = ()  # from the paper; empty: none
    row: str | None = None  # the row of the paper's table: the builder's first argument, where it has one
    task: Task = "classification"
    classes: int = 1000  # of the paper, as are channels and size
    channels: int = 3
    size: tuple[int, ...] = (224, 224)
    elsewhere: tuple[str, ...] = ()  # how the variants in common libraries differ from this one


class Published(NamedTuple):
    """One figure that a paper states about a network, as it is printed there.

    The figure is that of the whole network or, with `layer`, of that module and what it contains; modules under the
    paths `without` are left out of sums. `output_size` is (maps, height, width) or (units,). `tolerance` is what the
    paper's rounding allows: half of its last digit. Where ours is another figure, it is `ours`, and `departs` says why.
    """

    model: str
    quantity: Quantity
    value: int | tuple[int, ...]
    source: str  # such as "table 1"
    layer: str = ""
    without: tuple[str, ...] = ()
    tolerance: int = 0
    ours: int | tuple[int, ...] | None = None
    departs: str = ""
