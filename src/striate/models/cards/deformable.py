"""Deformable convolutional networks (Dai et al., ICCV 2017)."""

from striate.models._card import Card, Published

DAI_2017 = "Dai, Qi, Xiong, Li, Zhang, Hu, Wei: Deformable Convolutional Networks, ICCV 2017"

CARDS = (
    Card(
        "deformable-deeplab-resnet101",
        "striate.models.deformable:deformable_deeplab",
        "DeepLab on ResNet-101 at stride 16 with deformable 3 x 3 layers in conv5",
        DAI_2017,
        (
            "normalisation learns its averages; the paper keeps those of ImageNet",
            "the first pooling pads one pixel, so that responses lie on every 4th pixel; the released ResNet pads none",
        ),
        task="segmentation",
        classes=21,
        size=(360, 360),
        elsewhere=(
            "the released code predicts the offsets of dilated layers without dilation, and enlarges the scores by a "
            "bilinear transposed convolution; the paper gives both kernels the same dilation",
            "DCNv2 and v3 of other libraries: modulated, in conv3 to conv5 (Zhu et al. 2019)",
        ),
    ),
)

PUBLISHED: tuple[Published, ...] = ()
