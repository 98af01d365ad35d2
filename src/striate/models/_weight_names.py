"""What the names in other libraries' weight files mean: data, no torch."""

import re

# A file may hold the weights under one of these keys, beside an optimiser's state and the like.
NESTED = ("state_dict", "model", "model_state_dict", "model_state", "net", "weights")

# What wrappers put before every name: DataParallel, torch.compile, Lightning modules.
WRAPPERS = ("module.", "_orig_mod.", "model.")

# Parts of a name (between dots) that say what a layer is for. ResNet's projections are `downsample` in torchvision and
# timm, `shortcut` in CIFAR networks (akamaster, weiaicunzai, kuangliu). Auxiliary classifiers are `aux1` and
# `AuxLogits` in torchvision.
ROLES = {
    "shortcut": re.compile(r"(downsample|shortcut|skip|projection|proj|identity)(_?\w{0,5})?", re.IGNORECASE),
    "auxiliary": re.compile(r"aux\w*", re.IGNORECASE),
}

# Parallel paths of ours that other libraries write as one layer with groups (AlexNet).
PATHS = re.compile(r"\bpath_?\d+\b")

# The order in which known words are executed, for files that keep their names sorted (safetensors): torchvision and
# timm's ResNet, VGG, AlexNet, GoogLeNet; the branches of torchvision's and timm's Inception v3; CIFAR ResNets.
WORDS = (
    *("stem", "conv", "conv_", "Conv", "Conv2d_", "bn", "norm", "residual_function"),
    *("layer", "stages", "features", "block", "blocks", "inception", "Mixed_"),
    *("branch1x1", "branch5x5", "branch3x3", "branch3x3dbl", "branch7x7", "branch7x7dbl", "branch7x7x3"),
    *("branch", "branch_pool"),
    *("downsample", "shortcut", "pre_logits", "classifier", "linear", "fc", "last_linear", "head", "logits", "output"),
)
