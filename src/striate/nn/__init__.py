"""Modules: the operators with their parameters and settings."""

from striate.nn._activation import ScaledTanh
from striate.nn._conv import Conv
from striate.nn._conv_transpose import ConvTranspose
from striate.nn._deform_conv import DeformConv
from striate.nn._dropout import Dropout
from striate.nn._highway import Highway
from striate.nn._linear import Linear
from striate.nn._normalization import LocalResponseNorm
from striate.nn._pool import AvgPool, MaxPool, MaxUnpool, Subsample
from striate.nn._rbf import RBF, Negative
from striate.nn._small import Fused, Sequenced, fused

__all__ = [
    "RBF",
    "AvgPool",
    "Conv",
    "ConvTranspose",
    "DeformConv",
    "Dropout",
    "Fused",
    "Highway",
    "Linear",
    "LocalResponseNorm",
    "MaxPool",
    "MaxUnpool",
    "Negative",
    "ScaledTanh",
    "Sequenced",
    "Subsample",
    "fused",
]
