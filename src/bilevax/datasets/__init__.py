"""Real data, with scikit-learn's conventions.

| loader | what | rows x features, classes |
|---|---|---|
| `load_digits` | scikit-learn's bundled digits | 1797 x 64, 10 |
| `fetch_mnist` | MNIST, from its IDX files | 70,000 x 784, 10 |
| `fetch_20newsgroups` | 20 Newsgroups, word counts of unit norm | 18,846 x about 130,107, 20 |
| `load_file` | a LIBSVM, CSV, NPZ or Parquet file of your own | |
| `load_features` | the same without labels, to predict | |

`available` tells where each is. All loaders return a `sklearn.utils.Bunch` with `data`,
`target`, `feature_names` and `target_names`, or the pair of the first two with
`return_X_y=True` (`load_features` returns `data`). Those that download keep their files in a
folder: the argument `data_home`, or else the environment variable `BILEVAX_DATA`, or else
`~/bilevax_data` (for 20 Newsgroups: scikit-learn's own folder).

Needs `pip install "bilevax[data]"`.
"""

import importlib.util

if importlib.util.find_spec("sklearn") is None:
    raise ImportError('bilevax.datasets needs `pip install "bilevax[data]"`.')

from ._available import available
from ._digits import load_digits
from ._files import load_features, load_file
from ._mnist import fetch_mnist
from ._newsgroups import fetch_20newsgroups

__all__ = [
    "available",
    "fetch_20newsgroups",
    "fetch_mnist",
    "load_digits",
    "load_features",
    "load_file",
]
