"""The handwritten digits that scikit-learn carries: a set for learning and testing without any download."""

import numpy as np

from striate.data._decode import fit_arrays
from striate.data._preprocessing import Preprocessing
from striate.data._splits import ArraySplit


def read_digits(preprocessing: Preprocessing) -> ArraySplit:
    """Return the 1,797 digits, their 17 grey levels spread over 0..255, brought to size from 8 x 8."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    images = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return ArraySplit([f"digits/{k:04}" for k in range(len(images))], labels, fit_arrays(images, preprocessing))
