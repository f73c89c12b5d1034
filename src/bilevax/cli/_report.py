"""The report: one HTML file that needs nothing else."""

import base64
import re

import jinja2
from markupsafe import Markup, escape

from ._options import option
from ._outcome import Outcome


def report(outcome: Outcome) -> str:
    """The page."""
    settings = outcome.result["settings"].items()
    return (
        environment()
        .get_template("report.html")
        .render(
            outcome=outcome,
            settings={option(name): value for name, value in settings if value is not None},
        )
    )


def environment() -> jinja2.Environment:
    """Whatever comes from a file of data is escaped; what is missing raises."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("bilevax.cli", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    made.filters["with_options"] = _with_options
    made.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return made


def _with_options(text: str) -> Markup:
    """Text with its command line options kept on one line."""
    return Markup(re.sub(r"(--[a-z-]+(?: shared)?)", r"<code>\1</code>", str(escape(text))))
