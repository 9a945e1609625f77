"""The figures as a bar chart: plain SVG, readable in light and dark, with a text for those who do not see it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks.measure import COMPARABLE
from benchmarks.report import micro

if TYPE_CHECKING:
    from benchmarks.measure import Figure
    from benchmarks.report import Report

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 880, 330, 80, 74, 30, 18
_STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2328; }
    .small { font-size: 11px; fill: #57606a; }
    .title { font-size: 15px; font-weight: 600; }
    .grid { stroke: #d0d7de; stroke-width: 1; }
    .ours { fill: #0a6c74; }
    .theirs { fill: #9aa4af; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .small { fill: #9198a1; }
      .grid { stroke: #3d444d; }
      .ours { fill: #3fb8c2; }
      .theirs { fill: #656c76; }
    }"""


def draw(report: Report) -> str:
    """Draw the comparable rules on a logarithmic scale, fastest first."""
    figures = report.group(COMPARABLE)
    first = math.floor(math.log10(figures[0].median))
    last = math.ceil(math.log10(figures[-1].median))
    height = TOP + ROW * len(figures) + 40

    def place(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - first) / max(1, last - first)

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            'aria-labelledby="title description">'
        ),
        '  <title id="title">CPU time for one decision, by engine</title>',
        f'  <desc id="description">{escape(_in_words(figures))}</desc>',
        f"  <style>{_STYLE}\n  </style>",
        '  <text class="title" x="16" y="26">CPU time for one decision, in microseconds (shorter is better)</text>',
        (
            f'  <text class="small" x="16" y="46">{report.rules} criteria, three options, fully known patients; '
            "logarithmic scale; what stands in brackets comes with the answer</text>"
        ),
    ]
    bottom = TOP + ROW * len(figures)
    for power in range(first, last + 1):
        x = place(10.0**power)
        parts.append(f'  <line class="grid" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'  <text class="small" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{10**power:,}</text>')
    for position, figure in enumerate(figures):
        y = TOP + ROW * position
        kind = "ours" if figure.name.startswith("this engine") else "theirs"
        end = place(figure.median)
        says = f" [{figure.says_why}]" if figure.says_why != "nothing" else ""
        name = figure.name.split(" (")[0] + says
        parts += [
            f'  <text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'  <rect class="{kind}" x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" rx="2"/>',
            f'  <text x="{end + 6:.1f}" y="{y + 14}">{micro(figure.median)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _in_words(figures: list[Figure]) -> str:
    return "; ".join(f"{f.name}: {micro(f.median)} microseconds, answers with {f.says_why}" for f in figures) + "."
