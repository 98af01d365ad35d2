"""LeNet-5 (LeCun, Bottou, Bengio, Haffner, 1998): what section II.B states of each layer."""

from striate.models._card import Card, Published

LECUN_1998 = (
    "LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86(11), 1998"
)

CARDS = (
    Card(
        "lenet5",
        "striate.models.lenet5:lenet5",
        "LeNet-5 as published in 1998",
        LECUN_1998,
        classes=10,
        channels=1,
        size=(32, 32),
        elsewhere=("most libraries and courses: the row lenet5-modern, by its name alone",),
    ),
    Card(
        "lenet5-modern",
        "striate.models.lenet5:lenet5_modern",
        "LeNet-5 as it is usually written today",
        LECUN_1998,
        (
            "ReLU instead of the scaled hyperbolic tangent",
            "max pooling instead of trainable subsampling",
            "C3 sees all six maps of S2: 96 kernels instead of the table's 60",
            "a dense layer and softmax instead of the Euclidean RBF units",
            "He initialisation instead of uniform in +-2.4 / fan-in",
        ),
        classes=10,
        channels=1,
        size=(32, 32),
    ),
)

PUBLISHED: tuple[Published, ...] = (
    Published("lenet5", "output_size", (6, 28, 28), "II.B", layer="C1"),
    Published("lenet5", "parameters", 156, "II.B", layer="C1"),
    Published("lenet5", "connections", 122_304, "II.B", layer="C1"),
    Published("lenet5", "output_size", (6, 14, 14), "II.B", layer="S2"),
    Published("lenet5", "parameters", 12, "II.B", layer="S2"),
    Published("lenet5", "connections", 5_880, "II.B", layer="S2"),
    Published("lenet5", "output_size", (16, 10, 10), "II.B", layer="C3"),
    Published("lenet5", "parameters", 1_516, "II.B", layer="C3"),
    Published("lenet5", "connections", 151_600, "II.B", layer="C3"),
    Published("lenet5", "output_size", (16, 5, 5), "II.B", layer="S4"),
    Published("lenet5", "parameters", 32, "II.B", layer="S4"),
    Published("lenet5", "connections", 2_000, "II.B", layer="S4"),
    Published("lenet5", "output_size", (120, 1, 1), "II.B", layer="C5"),
    Published("lenet5", "connections", 48_120, "II.B", layer="C5"),
    Published("lenet5", "output_size", (84,), "II.B", layer="F6"),
    Published("lenet5", "parameters", 10_164, "II.B", layer="F6"),
    Published("lenet5", "parameters", 60_000, "II.B"),
    Published("lenet5", "connections", 340_908, "II.B"),
)
