"""DeconvNet (Noh, Hong, Han, ICCV 2015): the output sizes of table 2."""

from striate.models._card import Card, Published

NOH_2015 = "Noh, Hong, Han: Learning Deconvolution Network for Semantic Segmentation, ICCV 2015"

CARDS = (
    Card(
        "deconvnet",
        "striate.models.deconvnet:deconvnet",
        "DeconvNet: VGG-16 and its mirror image, joined by the switches of its pooling",
        NOH_2015,
        task="segmentation",
        classes=21,
        size=(224, 224),
        elsewhere=(
            "SegNet, often taken for it, has no fully connected middle",
            "the ensemble of object proposals, FCN-8s and a CRF that the paper reports is a procedure, not the network",
        ),
    ),
)

# as printed, with the maps first and _ for -
_TABLE_2 = {
    "conv1_1": (64, 224, 224),
    "conv1_2": (64, 224, 224),
    "pool1": (64, 112, 112),
    "conv2_1": (128, 112, 112),
    "conv2_2": (128, 112, 112),
    "pool2": (128, 56, 56),
    "conv3_1": (256, 56, 56),
    "conv3_2": (256, 56, 56),
    "conv3_3": (256, 56, 56),
    "pool3": (256, 28, 28),
    "conv4_1": (512, 28, 28),
    "conv4_2": (512, 28, 28),
    "conv4_3": (512, 28, 28),
    "pool4": (512, 14, 14),
    "conv5_1": (512, 14, 14),
    "conv5_2": (512, 14, 14),
    "conv5_3": (512, 14, 14),
    "pool5": (512, 7, 7),
    "fc6": (4096, 1, 1),
    "fc7": (4096, 1, 1),
    "deconv_fc6": (512, 7, 7),
    "unpool5": (512, 14, 14),
    "deconv5_1": (512, 14, 14),
    "deconv5_2": (512, 14, 14),
    "deconv5_3": (512, 14, 14),
    "unpool4": (512, 28, 28),
    "deconv4_1": (512, 28, 28),
    "deconv4_2": (512, 28, 28),
    "deconv4_3": (256, 28, 28),
    "unpool3": (256, 56, 56),
    "deconv3_1": (256, 56, 56),
    "deconv3_2": (256, 56, 56),
    "deconv3_3": (128, 56, 56),
    "unpool2": (128, 112, 112),
    "deconv2_1": (128, 112, 112),
    "deconv2_2": (64, 112, 112),
    "unpool1": (64, 224, 224),
    "deconv1_1": (64, 224, 224),
    "deconv1_2": (64, 224, 224),
    "output": (21, 224, 224),
}
PUBLISHED: tuple[Published, ...] = tuple(
    Published("deconvnet", "output_size", size, "table 2", layer=layer) for layer, size in _TABLE_2.items()
)
