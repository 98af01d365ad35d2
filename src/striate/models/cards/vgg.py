"""VGG (Simonyan, Zisserman, 2014): tables 1 and 2."""

from striate.models._card import Card, Published

SIMONYAN_2014 = "Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014"

_ELSEWHERE = {
    "A": ("torchvision: vgg11; its convolutions start from He's weights, and vgg11_bn adds batch normalisation",),
    "A-LRN": (),
    "B": ("torchvision: vgg13; its convolutions start from He's weights, and vgg13_bn adds batch normalisation",),
    "C": (),
    "D": (
        "torchvision: vgg16; its convolutions start from He's weights, and vgg16_bn adds batch normalisation",
        "often called VGG-16 or VGG16",
    ),
    "E": (
        "torchvision: vgg19; its convolutions start from He's weights, and vgg19_bn adds batch normalisation",
        "often called VGG-19 or VGG19",
    ),
}
_WEIGHT_LAYERS = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}  # table 1, second line

CARDS = tuple(
    Card(
        f"vgg-{row.lower()}",
        "striate.models.vgg:vgg",
        f"VGG, configuration {row}: {layers} weight layers",
        SIMONYAN_2014,
        row=row,
        elsewhere=_ELSEWHERE[row],
    )
    for row, layers in _WEIGHT_LAYERS.items()
)

_MILLIONS = {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}  # table 2

PUBLISHED: tuple[Published, ...] = tuple(
    Published(f"vgg-{row.lower()}", "parameters", millions * 1_000_000, "table 2", tolerance=500_000)
    for row, millions in _MILLIONS.items()
)
