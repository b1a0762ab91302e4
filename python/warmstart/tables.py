"""Tables as text and as HTML, for the display of this package's objects."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

Row = Sequence[Any]

_NUMBER = re.compile(r"-?[\d,]+(\.\d+)?(e[+-]?\d+)?( [KMGT]?i?B)?%?$")
_CELL = "padding:2px 10px;text-align:"


def format_cell(value: Any) -> str:
    """Format one value: thousands separated, floats to four significant digits, ``None`` as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def format_bytes(n: int) -> str:
    """Format a number of bytes with its binary unit, as in ``'1.2 GiB'``."""
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_count(n: int) -> str:
    """Format a number of parameters, as in ``'22.7M'``."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= factor:
            return f"{n / factor:.1f}{unit}"
    return str(n)


def text_table(headers: Sequence[str], rows: Sequence[Row]) -> str:
    """Lay rows out in aligned columns; a column of numbers is aligned to the right."""
    cells = [list(map(format_cell, row)) for row in rows]
    lines = []
    right = _numeric_columns(len(headers), cells)
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    for line in [list(headers), *cells]:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)]
        lines.append("  ".join(parts).rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def html_table(headers: Sequence[str], rows: Sequence[Row], caption: str | None = None) -> str:
    """Lay rows out as an HTML table, every cell escaped."""
    cells = [list(map(format_cell, row)) for row in rows]
    align = ["right" if r else "left" for r in _numeric_columns(len(headers), cells)]
    parts = ["<table>"]
    if caption:
        parts.append(f"<caption style='caption-side:top;text-align:left'><b>{escape(caption)}</b></caption>")
    if any(headers):
        parts.append(_html_row("th", headers, align))
    parts += [_html_row("td", line, align) for line in cells]
    parts.append("</table>")
    return "".join(parts)


def html_stack(*blocks: str) -> str:
    """Put HTML blocks below one another."""
    return "<div>" + "".join(f"<div style='margin-bottom:8px'>{block}</div>" for block in blocks if block) + "</div>"


def html_scroll(block: str, max_height_px: int = 420) -> str:
    """Let a long block scroll instead of filling the notebook."""
    style = f"max-height:{max_height_px}px;overflow:auto;display:inline-block;vertical-align:top"
    return f"<div style='{style}'>{block}</div>"


def _html_row(tag: str, cells: Sequence[str], align: Sequence[str]) -> str:
    return (
        "<tr>"
        + "".join(f"<{tag} style='{_CELL}{a}'>{escape(c)}</{tag}>" for c, a in zip(cells, align, strict=True))
        + "</tr>"
    )


def _numeric_columns(n_columns: int, cells: Sequence[Sequence[str]]) -> list[bool]:
    filled = [[line[i] for line in cells if line[i]] for i in range(n_columns)]
    return [bool(column) and all(_NUMBER.match(c) for c in column) for column in filled]
