"""What windows do to sizes, and what layers cost: integers only.

The chapter, sections 5.x and equations (5.x) are those of Qiu Xipeng, Neural Networks and Deep Learning, chapter 5.
"""

from striate.geometry._counting import LayerCount, count_conv, count_dense, count_pool, count_rbf, count_subsample
from striate.geometry._receptive_field import Field
from striate.geometry._sizes import leftover, output_size, upsampled_size, window_sizes
from striate.geometry._window import Window
from striate.geometry._words import Padding, PerAxis, make_window

__all__ = [
    "Field",
    "LayerCount",
    "Padding",
    "PerAxis",
    "Window",
    "count_conv",
    "count_dense",
    "count_pool",
    "count_rbf",
    "count_subsample",
    "leftover",
    "make_window",
    "output_size",
    "upsampled_size",
    "window_sizes",
]
