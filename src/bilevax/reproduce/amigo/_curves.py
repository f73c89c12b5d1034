"""What is read off runs: costs to reach an error, errors at a cost, the best over counts."""

import numpy as np

from ._sweep import GROWING, Run, Runs


def of_method(runs: Runs, method: str) -> dict[int, Run]:
    """Its runs, by their count N."""
    return {count: run for (name, count), run in runs.items() if name == method}


def cost_to(run: Run, i: int, error: float) -> float:
    """The cost after which the error is first so small; infinite where it never is.

    >>> run = Run(np.array([[1.0, 0.1, 0.01]]), np.array([4, 8, 12]))
    >>> cost_to(run, 0, 0.1), cost_to(run, 0, 1e-3)
    (8.0, inf)
    """
    reached = np.flatnonzero(run.errors[i] <= error)
    return float(run.cost[reached[0]]) if len(reached) else np.inf


def best_cost(runs: Runs, method: str, i: int, error: float = 1e-6) -> tuple[float, int]:
    """The least of that over counts, and whose it is."""
    costs = {n: cost_to(run, i, error) for n, run in of_method(runs, method).items()}
    count = min(costs, key=lambda n: costs[n])
    return costs[count], count


def errors_at(run: Run, i: int, costs: np.ndarray) -> np.ndarray:
    """The error after the last step that so much pays for; 1, that of x = 0, before the first.

    >>> run = Run(np.array([[0.5, 0.1]]), np.array([4, 8]))
    >>> errors_at(run, 0, np.array([3, 4, 7, 100])).tolist()
    [1.0, 0.5, 0.5, 0.1]
    """
    taken = np.searchsorted(run.cost, costs, side="right")
    return np.concatenate([[1.0], run.errors[i]])[taken]


def best_errors(runs: Runs, method: str, i: int, costs: np.ndarray) -> np.ndarray:
    """The least error over counts at each cost."""
    found = [errors_at(run, i, costs) for run in of_method(runs, method).values()]
    return np.min(found, axis=0)


def named(count: int) -> str:
    """A count in words."""
    return "growing" if count == GROWING else str(count)
