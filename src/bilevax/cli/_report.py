"""The report: one HTML file that needs nothing else."""

import base64
import re
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ._options import option
from ._pictures import Picture
from ._verdict import rows_of_scores, verdict


def report(
    result: dict[str, Any],
    pictures: list[Picture],
    words: tuple[list[str], list[str]] | None,
) -> str:
    """The page."""
    head, *scores = rows_of_scores(result)
    settings = {option(k): v for k, v in result["settings"].items() if v is not None}
    return (
        _environment()
        .get_template("report.html")
        .render(
            result=result,
            verdict=verdict(result),
            head=head,
            scores=scores,
            pictures=pictures,
            words=words,
            facts=_facts(result),
            settings=settings,
        )
    )


def _environment() -> jinja2.Environment:
    """Whatever comes from a file of data is escaped; what is missing raises."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("bilevax.cli", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    made.filters["with_options"] = _with_options
    made.filters["base64"] = lambda content: base64.b64encode(content).decode()
    made.filters["thousands"] = lambda number: f"{number:,}"
    return made


def _with_options(text: str) -> Markup:
    """Text with its command line options kept on one line."""
    return Markup(re.sub(r"(--[a-z-]+(?: shared)?)", r"<code>\1</code>", str(escape(text))))


def _facts(result: dict[str, Any]) -> dict[str, str]:
    """What is told of the run itself."""
    cost, rows = result["cost"], result["rows"]
    facts = {
        "rows to train, validate, test": " / ".join(f"{n:,}" for n in rows.values()),
        "features": f"{result['features']:,}",
        "outer steps": f"{result['steps']:,}",
        "ended because": result["ended_because"],
        "seconds of training": f"{result['seconds']:.1f}",
        "oracle calls": f"{cost['total']:,}",
        "inner gradients": f"{cost['inner_gradient']:,}",
        "Hessian-vector products": f"{cost['hvp']:,}",
        "cross products": f"{cost['cross']:,}",
        "outer gradients": f"{cost['outer_gradient']:,}",
        "rows read": f"{cost['rows']['total']:,}",
        "last norm of the hypergradient": f"{result['hypergradient_norm']:.3g}",
        "inner step, 1 / measured smoothness": f"{result['inner_step_size']:.4g}",
    }
    if result["classes"]:
        return {"classes": f"{result['classes']}", **facts}
    return facts
