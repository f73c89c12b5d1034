"""Real data, with scikit-learn's conventions.

| loader | what |
|---|---|
| `load_digits`, `fetch_mnist`, ... | the known data sets |
| `load_file` | a LIBSVM, CSV, NPZ, NPY, Parquet or Arrow file of your own |
| `load_features` | the same without labels, to predict |

`available` tells of each known data set how large and where it is. All loaders return a
`sklearn.utils.Bunch` with `data`, `target`, `feature_names` and `target_names`, or the pair of
the first two with `return_X_y=True` (`load_features` returns `data`). Those that download keep
their files in a folder: the argument `data_home`, or else the environment variable
`BILEVAX_DATA`, or else `~/bilevax_data` (for 20 Newsgroups: scikit-learn's own folder).

Needs `pip install "bilevax[data]"`.
"""

import importlib.util

if importlib.util.find_spec("sklearn") is None:
    raise ImportError('bilevax.datasets needs `pip install "bilevax[data]"`.')

from . import _known
from ._files import load_features, load_file
from ._known import *  # noqa: F403 - what the table of known data sets names

__all__ = ["load_features", "load_file"]
__all__ += _known.__all__
