"""The digits that come with scikit-learn."""

from typing import Any

import numpy as np

from ._home import bunch, pixel_names


def load_digits(*, return_X_y: bool = False) -> Any:
    """Handwritten digits of 8 x 8 pixels, 1797 rows, 10 classes.

    `data` is float32 in [0, 1], `target` holds integers. Nothing is downloaded.

    >>> import bilevax as bx
    >>> X, y = bx.datasets.load_digits(return_X_y=True)
    >>> X.shape, X.max().item(), len(set(y.tolist()))
    ((1797, 64), 1.0, 10)
    """
    import sklearn.datasets

    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    data = (pixels / 16).astype(np.float32)
    return bunch(
        data, labels.astype(np.int32), pixel_names(8, 8), map(str, range(10)), return_X_y
    )
