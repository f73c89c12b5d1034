"""A user's own file."""

import os
import pathlib
import stat
from collections.abc import Sequence
from typing import Any

from ._beyond_memory import read_mapped, size_of
from ._formats import format_of, read, read_features
from ._home import bunch
from ._labels import classes, numbers
from ._numbers import as_float32


def load_file(
    path: str | os.PathLike,
    *,
    label: str | None = None,
    task: str = "classification",
    like: Any = None,
    zero_based: bool = False,
    return_X_y: bool = False,
    on_disk_above: int | None = None,
) -> Any:
    """Reads a file of rows with labels.

    | ending | format | labels |
    |---|---|---|
    | `.svm`, `.libsvm`, `.svmlight` | LIBSVM, sparse | the first number of a line |
    | `.csv`, `.tsv` | with a line of column names | the column `label` |
    | `.parquet`, `.feather`, `.arrow` | a table | the column `label` |
    | `.npz` | arrays `X` (dense) and `y` | `y` |
    | `.npy` | an array of rows and features | the array in the NPY file `label` |

    The first two may be packed, with a further `.gz` or `.bz2`. `data` is float32, dense or
    a CSR matrix; a column whose differences single precision would lose is refused, unless
    the file is read `like` another. The features of a LIBSVM or NPZ file are called
    `feature_0`, `feature_1`, ...

    **Arguments:**

    - `label`: of a table: the name of the label column; "label", "target", "class" or "y"
      is found by itself.
    - `task`: with "classification" `target` holds integers and `target_names` the labels,
      each as it stands in a table: `1.1` and `1.10` are two classes. With "regression" it
      holds numbers.
    - `like`: a Bunch that was loaded before, such as the training set of this test set: the
      same features in the same order, and the same integers for the same labels (those of
      the same letters, or else those of the same number, as 1 and 1.0).
    - `zero_based`: of a LIBSVM file: whether its indices begin with 0.
    - `on_disk_above`: bytes above which features stay on disk: `data` is then a memory-mapped
      array, for `bx.RowsOnDisk`. Those of an NPY file, and of an NPZ file that is not
      compressed, are mapped where they are, in the numbers that stand there; those of a Parquet
      or Arrow file are written once, as float32, to an NPY file beside it. They are checked
      like others, which reads all of them. By default everything is loaded.

    **Raises** `OSError` or `ValueError` in words that name the line or the column.

    >>> import bilevax as bx, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "flowers.csv"
    ...     _ = path.write_text("length,width,label\\n1.5,2,rose\\n3,4,lily\\n")
    ...     flowers = bx.datasets.load_file(path)
    >>> flowers.data.tolist(), flowers.target.tolist(), flowers.target_names
    ([[1.5, 2.0], [3.0, 4.0]], [1, 0], ['lily', 'rose'])
    """
    path = pathlib.Path(path)
    if task not in ("classification", "regression"):
        raise ValueError(f"task must be 'classification' or 'regression', got {task!r}.")
    kind = _checked_format(path)
    wanted = None if like is None else like.feature_names
    if on_disk_above is not None and size_of(path, kind, label) > on_disk_above:
        data, target, names, label = read_mapped(path, kind, label, wanted)
    else:
        data, target, names, label = read(path, kind, label, zero_based, wanted)
        data = as_float32(path, data, names, to_fit=like is None)
    if task == "regression":
        target, words = numbers(path, target), []
    else:
        target, words = classes(path, target, None if like is None else like.target_names)
    return _with_label(bunch(data, target, names, words, return_X_y), label)


def _with_label(found: Any, label: str | None) -> Any:
    """A Bunch that knows its label column; anything else as it is."""
    if not isinstance(found, tuple):
        found["label"] = label
    return found


def load_features(
    path: str | os.PathLike, feature_names: Sequence[str], *, zero_based: bool = False
) -> Any:
    """Reads the features of a file that may have labels or not, to apply a model to.

    **Arguments:**

    - `path`: a file as in `load_file`.
    - `feature_names`: the features that the model was fitted on. Of a table, these columns
      are taken, in this order; a LIBSVM file (which has labels always) or an NPZ file must
      have as many features.

    **Returns:** a float32 array or CSR matrix, one row a row of the file.

    **Raises** `OSError` or `ValueError` in words that name the line or the column.

    >>> import bilevax as bx, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "flowers.csv"
    ...     _ = path.write_text("width,colour,length\\n2,red,1.5\\n")
    ...     X = bx.datasets.load_features(path, ["length", "width"])
    >>> X.tolist()
    [[1.5, 2.0]]
    """
    path = pathlib.Path(path)
    data = read_features(path, _checked_format(path), zero_based, feature_names)
    return as_float32(path, data, feature_names, to_fit=False)


def _checked_format(path: pathlib.Path) -> str:
    """The format of a file that is there."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"There is no file {path}.") from None
    except OSError as error:  # a circle of links, a name that is too long, no permission
        raise OSError(f"{path} cannot be opened: {error.strerror}.") from error
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{path} is a folder: name a file in it.")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is a pipe or a device: put the rows into a file first.")
    kind = format_of(path)
    if found.st_size == 0:
        raise ValueError(f"{path} is empty.")
    return kind
