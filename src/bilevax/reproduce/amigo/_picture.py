"""Colours, names and panels that the figures share."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

# Okabe and Ito's palette; lines that lie on each other by an identity differ in their dashes.
STYLES: dict[str, tuple[str, Any, str]] = {
    "amigo_cg": ("#D55E00", "-", "AmIGO-CG"),
    "amigo_gd": ("#0072B2", "-", "AmIGO-GD"),
    "aid_cg": ("#E69F00", "-", "AID-CG"),
    "aid_cg_ws": ("#000000", (0, (2, 4)), "AID-CG-WS"),
    "aid_gd": ("#56B4E9", "-", "AID-GD"),
    "aid_fp": ("#009E73", (0, (5, 4)), "AID-FP"),
    "aid_n": ("#CC79A7", "-.", "AID-N"),
    "itd": ("#777777", (0, (1, 2)), "ITD"),
    "reverse": ("#B2182B", (0, (1, 5)), "Reverse"),
    "stocbio": ("#CC79A7", (0, (1, 1)), "stocBiO"),
    "bsa": ("#F0E442", "-", "BSA"),
    "ttsa": ("#999933", "--", "TTSA"),
    "mrbo": ("#882255", "-", "MRBO"),
    "vrbo": ("#332288", ":", "VRBO"),
    "soba": ("#000000", "-", "SOBA"),
    "ma_soba": ("#777777", "--", "MA-SOBA"),
    "saba": ("#D55E00", "-", "SABA"),
    "srba": ("#E69F00", "-", "SRBA"),
    "f2sa": ("#009E73", "-", "F2SA"),
}


def line(axes: Any, method: str, x: Any, y: Any, **more: Any) -> None:
    """One method's curve, in its colour."""
    color, style, name = STYLES[method]
    axes.plot(x, y, color=color, linestyle=style, label=name, **more)


def decades_alone(axes: Any) -> None:
    """On a logarithmic axis of x: little more than a decade would have a label at every tick,
    one over the other."""
    axes.xaxis.set_minor_formatter(NullFormatter())


def below(figure: Figure, axes: Any, columns: int) -> None:
    """One legend under all panels, where it covers no curve."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)


def shown(errors: np.ndarray, floor: float = 1e-32) -> np.ndarray:
    """Errors for a logarithmic axis."""
    return np.maximum(errors, floor)
