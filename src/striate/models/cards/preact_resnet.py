"""Pre-activation ResNet (He, Zhang, Ren, Sun, 2016): table 4."""

from striate.models._card import Card, Published

HE_2016 = "He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, arXiv 1603.05027, 2016"
_BUILDER = "striate.models.preact_resnet:preact_resnet"

CARDS = (
    *(
        Card(
            f"preact-resnet-cifar-{layers}",
            _BUILDER,
            f"ResNet of {layers} layers with pre-activation for CIFAR-10",
            HE_2016,
            row=f"cifar-{layers}",
            classes=10,
            size=(32, 32),
            elsewhere=("some repositories have the stride in the 3 x 3 convolution",) if layers > 110 else (),
        )
        for layers in (110, 164, 1001)
    ),
    Card(
        "preact-resnet-200",
        _BUILDER,
        "ResNet of 200 layers with pre-activation for ImageNet",
        HE_2016,
        row="200",
        elsewhere=(
            "fb.resnet.torch: preresnet 200, with the stride in the 3 x 3 and batch normalisation after projections",
        ),
    ),
)

PUBLISHED: tuple[Published, ...] = (
    Published("preact-resnet-cifar-164", "parameters", 1_700_000, "table 4", tolerance=50_000),
    Published(
        "preact-resnet-cifar-1001",
        "parameters",
        10_200_000,
        "table 4",
        tolerance=50_000,
        ours=10_327_706,
        departs="the figure is that of the weights, 10,178,490; batch normalisation has 149,216 scales and shifts more",
    ),
)
