"""Modules: the operators with their parameters and settings."""

from striate.nn._activation import ScaledTanh
from striate.nn._conv import Conv
from striate.nn._pool import AvgPool, MaxPool, Subsample
from striate.nn._rbf import RBF

__all__ = ["RBF", "AvgPool", "Conv", "MaxPool", "ScaledTanh", "Subsample"]
