"""Bilevel optimisation and hypergradients on JAX."""

import importlib
from typing import TYPE_CHECKING

from . import algorithms, problems, schedules, theory
from ._core.cost import Cost
from ._core.result import Result
from ._minimum.argmin import argmin
from ._minimum.minimum import minimum
from ._rows.on_disk import RowsOnDisk
from ._rows.samplers import Batches, Blocks, Epochs, FullBatch, RandomRows
from ._rows.shards import shard_rows
from ._rows.sparse import SparseMatrix
from ._run.chunks import State
from ._run.curvature import Curvature, curvature
from ._run.diagnosis import check_steps
from ._run.hypergradient import Hypergradient, hypergradient
from ._run.many import minimize_many
from ._run.minimize import Solution, initial_state, minimize
from ._run.steps import with_measured_steps
from ._study.error_bound import ErrorBound, error_bound
from ._study.recommend import recommend
from ._study.recommendation import Recommendation
from ._study.sid_constants import MeasuredConstant, SIDConstants, measure_constants
from ._study.sid_report import SIDReport, sid_report
from ._study.trajectory import Trajectory, trajectory
from ._sweep.store import SweepRun
from ._sweep.sweep import sweep
from .algorithms._adaptive import adaptive_step
from .algorithms._averaged import averaged
from .algorithms._base import Algorithm
from .algorithms._mirror import mirror_descent
from .algorithms._projected import projected
from .hypergradients import (
    Analytic,
    DynamicBarrier,
    FiniteDifference,
    Implicit,
    Joint,
    OneStep,
    Penalty,
    Unrolled,
)
from .problems._base import BilevelProblem, FixedPointProblem, MinProblem
from .problems._constants import Constants
from .reducers import SAGA, SPIDER, STORM, Sample
from .solvers import (
    CG,
    SAG,
    SGD,
    SVRG,
    AcceleratedGradientDescent,
    Descent,
    Direct,
    FixedPointIteration,
    GradientDescent,
    HeavyBall,
    Neumann,
    Newton,
    Nystrom,
    Optimistix,
    ReducedDescent,
    Sinkhorn,
    StochasticFixedPoint,
)

if TYPE_CHECKING:
    from . import datasets

__version__ = "0.1.0"

__all__ = [
    "CG",
    "SAG",
    "SAGA",
    "SGD",
    "SPIDER",
    "STORM",
    "SVRG",
    "AcceleratedGradientDescent",
    "Algorithm",
    "Analytic",
    "Batches",
    "BilevelProblem",
    "Blocks",
    "Constants",
    "Cost",
    "Curvature",
    "Descent",
    "Direct",
    "DynamicBarrier",
    "Epochs",
    "ErrorBound",
    "FiniteDifference",
    "FixedPointIteration",
    "FixedPointProblem",
    "FullBatch",
    "GradientDescent",
    "HeavyBall",
    "Hypergradient",
    "Implicit",
    "Joint",
    "MeasuredConstant",
    "MinProblem",
    "Neumann",
    "Newton",
    "Nystrom",
    "OneStep",
    "Optimistix",
    "Penalty",
    "RandomRows",
    "Recommendation",
    "ReducedDescent",
    "Result",
    "RowsOnDisk",
    "SIDConstants",
    "SIDReport",
    "Sample",
    "Sinkhorn",
    "Solution",
    "SparseMatrix",
    "State",
    "StochasticFixedPoint",
    "SweepRun",
    "Trajectory",
    "Unrolled",
    "adaptive_step",
    "algorithms",
    "argmin",
    "averaged",
    "check_steps",
    "curvature",
    "datasets",
    "error_bound",
    "hypergradient",
    "initial_state",
    "measure_constants",
    "minimize",
    "minimize_many",
    "minimum",
    "mirror_descent",
    "problems",
    "projected",
    "recommend",
    "schedules",
    "shard_rows",
    "sid_report",
    "sweep",
    "theory",
    "trajectory",
    "with_measured_steps",
]


def __getattr__(name: str):
    # Imported when asked for: only this part needs scikit-learn.
    if name == "datasets":
        return importlib.import_module(".datasets", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
