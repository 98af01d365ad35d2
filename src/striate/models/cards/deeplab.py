"""DeepLab v1 (Chen et al., ICLR 2015) and v2 (Chen et al., PAMI 2018): table 2 of the ICLR paper."""

from striate.models._card import Card, Published

CHEN_2015 = (
    "Chen, Papandreou, Kokkinos, Murphy, Yuille: Semantic Image Segmentation with Deep Convolutional Nets and Fully "
    "Connected CRFs, ICLR 2015"
)
CHEN_2018 = (
    "Chen, Papandreou, Kokkinos, Murphy, Yuille: DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, "
    "Atrous Convolution, and Fully Connected CRFs, PAMI 40(4), 2018"
)
_RESNET = (
    "normalisation learns its averages; the paper keeps those of ImageNet",
    "the first pooling pads one pixel, so that responses lie on every 4th pixel; the released ResNet pads none",
)

CARDS = (
    Card(
        "deeplab-v1",
        "striate.models.deeplab:deeplab_vgg16",
        "DeepLab-LargeFOV: VGG-16 at stride 8, 3 x 3 places of fc6 at rate 12",
        CHEN_2015,
        row="v1",
        task="segmentation",
        classes=21,
        size=(321, 321),
        elsewhere=("many ports leave out the mean pooling before fc6, which only the released network shows",),
    ),
    Card(
        "deeplab-v2-vgg16",
        "striate.models.deeplab:deeplab_vgg16",
        "DeepLab-ASPP-L on VGG-16: fc6, fc7 and fc8 at the rates 6, 12, 18 and 24, added",
        CHEN_2018,
        row="v2",
        task="segmentation",
        classes=21,
        size=(321, 321),
    ),
    Card(
        "deeplab-v2-resnet101",
        "striate.models.deeplab:deeplab_resnet101",
        "DeepLab v2 on ResNet-101: stride 8, score layers at the rates 6, 12, 18 and 24, added",
        CHEN_2018,
        _RESNET,
        task="segmentation",
        classes=21,
        size=(321, 321),
        elsewhere=(
            "torchvision's deeplabv3_resnet101 is the third version: batch-normalised pyramid, image pooling, joined "
            "and not added; stride on the 3 x 3 convolutions",
        ),
    ),
)

PUBLISHED: tuple[Published, ...] = (
    # row DeepLab-CRF-LargeFOV: kernel 3 x 3, input stride 12, receptive field 224, 20.5M parameters
    Published("deeplab-v1", "parameters", 20_500_000, "table 2 (ICLR 2015)", tolerance=50_000),
)
