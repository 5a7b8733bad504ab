"""The table as a picture: how many times each row reaches what it must, with the spread of its pairs."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, LABELS, RIGHT = 960, 380, 130
LINE, TOP = 44, 56
WIDEST = 3.0
"""Times the target: bars end here, and an arrow says that they would go on."""
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .small { font-size: 11px; fill: #59636e }
  .bar { fill: #2f7d4f } .below { fill: #b4472f } .spread { stroke: #1f2328; stroke-width: 1.5 }
  .must { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 4 3 } .back { fill: #59636e; opacity: .12 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9da7b3 } .bar { fill: #46a86f } .below { fill: #e0745c }
    .spread { stroke: #f0f6fc } .must { stroke: #9da7b3 } .back { fill: #9da7b3; opacity: .18 }
  }
"""


def draw(rows: list[dict[str, Any]], title: str) -> str:
    """The rows as an SVG that can be read on light and on dark paper."""
    height = TOP + LINE * len(rows) + 14
    must = _at(1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text x="8" y="22">{escape(title)}</text>',
        f'<text class="small" x="{must:.0f}" y="{TOP - 12}" text-anchor="middle">must</text>',
        *(_bar(row, TOP + LINE * place) for place, row in enumerate(rows)),
        f'<line class="must" x1="{must:.0f}" x2="{must:.0f}" y1="{TOP - 6}" y2="{height - 12}"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bar(row: dict[str, Any], y: int) -> str:
    times = row["ratio"] / row["target"]
    low, high = (_at(edge(row["ratios"]) / row["target"]) for edge in (min, max))
    middle, more = y + 13, " →" if times > WIDEST else ""
    kind, long = "bar" if times >= 1 else "below", _at(times) - LABELS
    return "\n".join(
        (
            f'<text x="8" y="{y + 11}">{row["row"]} · {escape(row["what"].rstrip(",").replace("`", ""))}</text>',
            f'<text class="small" x="8" y="{y + 26}">against {escape(row["against"])}</text>',
            f'<rect class="back" x="{LABELS}" y="{y}" width="{_at(WIDEST) - LABELS:.0f}" height="26" rx="3"/>',
            f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{long:.0f}" height="26" rx="3"/>',
            f'<line class="spread" x1="{low:.0f}" x2="{high:.0f}" y1="{middle}" y2="{middle}"/>',
            f'<text x="{_at(WIDEST) + 8:.0f}" y="{y + 11}">{row["ratio"]:.3g}{more}</text>',
            f'<text class="small" x="{_at(WIDEST) + 8:.0f}" y="{y + 26}">must {row["target"]:g}</text>',
        )
    )


def _at(times: float) -> float:
    """Where so many times the target stand, from the left."""
    return LABELS + (WIDTH - LABELS - RIGHT) * min(times, WIDEST) / WIDEST
