"""scikit-learn's diabetes table, and 200 columns that say nothing.

Each of the 200 is one of the ten measurements with its rows shuffled: it looks like the others
and knows nothing of the disease. One penalty for all columns must hold back the ten to keep the
200 down; penalties of their own need not.

    python examples/diabetes_and_shuffled.py diabetes.csv
    bilevax tune diabetes.csv --model ridge
"""

import pathlib
import sys

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

NUM_SHUFFLED = 200


def table(num: int = NUM_SHUFFLED, seed: int = 0) -> pd.DataFrame:
    """The ten measurements, so many shuffled ones, and the progress of the disease."""
    measured = load_diabetes(as_frame=True, scaled=False).frame
    target = measured.pop("target").rename("progress")
    random = np.random.default_rng(seed)
    shuffled = {}
    for i in range(num):
        name = measured.columns[random.integers(len(measured.columns))]
        shuffled[f"{name} shuffled {i}"] = random.permutation(measured[name].to_numpy())
    return pd.concat([measured, pd.DataFrame(shuffled), target], axis=1)


if __name__ == "__main__":
    path = pathlib.Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    table().to_csv(path, index=False)
