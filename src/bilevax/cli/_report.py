"""The report: one HTML file that needs nothing else."""

import base64
import re
from html import escape
from typing import Any

from ._options import option
from ._pictures import Picture
from ._verdict import rows_of_scores, verdict


def report(
    result: dict[str, Any],
    pictures: list[Picture],
    words: tuple[list[str], list[str]] | None,
) -> str:
    """The page."""
    name = escape(str(result["dataset"]))
    figures = "\n".join(_figure(picture) for picture in pictures)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>bilevax: {name}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Learned penalties: {name}</h1>
<p class="verdict">{_with_options(verdict(result))}</p>
<h2>What it bought</h2>
{_scores(result)}
<p>{escape(_explanation(result))}</p>
<h2>Pictures</h2>
<div class="figures">
{figures}
</div>
{_words(words)}
<h2>The run</h2>
{_facts(result)}
<h2>Settings and versions</h2>
<div class="columns">
{_pairs({option(k): v for k, v in result["settings"].items() if v is not None}, "Settings")}
{_pairs(result["versions"], "Versions")}
</div>
</body>
</html>
"""


def _with_options(text: str) -> str:
    """Text with its command line options kept on one line."""
    return re.sub(r"(--[a-z-]+(?: shared)?)", r"<code>\1</code>", escape(text))


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.content).decode()
    title = escape(picture.title)
    return (
        f'<figure><figcaption>{title}</figcaption><img alt="{title}" '
        f'src="data:image/png;base64,{data}"></figure>'
    )


def _scores(result: dict[str, Any]) -> str:
    head, *rows = rows_of_scores(result)
    cells = lambda row, tag: "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
    body = "\n".join(f"<tr>{cells(row[:1], 'th')}{cells(row[1:], 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _explanation(result: dict[str, Any]) -> str:
    rows, number = result["rows"], result["hyperparameters"]
    penalties = "One penalty was" if number == 1 else f"{number:,} penalties were"
    return (
        f"Weights were fitted on {rows['train']:,} rows. {penalties} learned so that the loss "
        f"on {rows['validation']:,} other rows is small. The {rows['test']:,} test rows had no "
        "part in either. The baseline is scikit-learn's model with one penalty for all, the "
        "best of a grid by the same validation loss."
    )


def _words(words: tuple[list[str], list[str]] | None) -> str:
    if words is None:
        return ""
    titles = ("Most kept words", "Most penalised words")
    lists = "\n".join(
        f"<section><h3>{title}</h3><p>{escape(', '.join(found))}</p></section>"
        for title, found in zip(titles, words, strict=True)
    )
    return f'<h2>Words</h2>\n<div class="columns">\n{lists}\n</div>'


def _facts(result: dict[str, Any]) -> str:
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
        facts = {"classes": f"{result['classes']}", **facts}
    return _pairs(facts, "")


def _pairs(pairs: dict[str, Any], title: str) -> str:
    items = "\n".join(
        f"<div><dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd></div>"
        for k, v in pairs.items()
    )
    heading = f"<h3>{title}</h3>" if title else ""
    return f"<section>{heading}<dl>{items}</dl></section>"


_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 68rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; }
.verdict { font-size: 1.1rem; border-left: 4px solid #0072B2; padding-left: .8rem; }
table { border-collapse: collapse; width: 100%; max-width: 44rem; }
th, td { padding: .3rem .4rem; border-bottom: 1px solid #ddd; text-align: right;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th:first-child { text-align: left; font-weight: 400; }
thead th { font-weight: 600; }
.figures, .columns { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; break-inside: avoid; }
figcaption { font-weight: 600; }
code { white-space: nowrap; font-size: .95em; }
img { max-width: 100%; height: auto; }
dl { margin: 0; }
dl div { display: flex; justify-content: space-between; gap: 1rem;
  border-bottom: 1px solid #eee; padding: .15rem 0; }
dt { color: #555; min-width: 0; }
dd { margin: 0; text-align: right; flex: none; max-width: 65%; overflow-wrap: anywhere; }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } }
"""
