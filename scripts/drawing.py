"""Draw the documents' Mermaid diagrams as SVG, so that a page needs neither a network nor a script to show them.

It knows what the documents use and nothing more: `stateDiagram-v2` with moves and their words, and `sequenceDiagram` with
participants, requests and answers. A line that it does not know raises `ValueError`: a diagram is drawn whole or not at all.
Colours are the page's own (`docs/site.css`), so that a dark page has dark diagrams.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from zlib import crc32

_STEP = re.compile(r"(\[\*\]|\w+) --> (\[\*\]|\w+)(?:: (.+))?")
_PARTICIPANT = re.compile(r"participant (\w+)(?: as (.+))?")
_MESSAGE = re.compile(r"(\w+)(-?->>)(\w+): (.+)")
_FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)

_HIGH, _GAP_X, _GAP_Y, _EDGE, _LETTER = 34, 34, 46, 14, 8.2
_SWEEPS = 24
START, END = "[*] begin", "[*] end"


def drawn(text: str) -> str:
    """`text` of a document with each Mermaid block replaced by a figure. Raises `ValueError` for a diagram it cannot draw."""
    return _FENCE.sub(lambda found: f'<figure class="diagram">\n{svg(found[1])}\n</figure>', text)


def svg(mermaid: str) -> str:
    """One diagram as an `<svg>` without blank lines. Raises `ValueError` for a line that it does not know."""
    kind, *lines = [line.strip() for line in mermaid.strip().splitlines()]
    if kind == "stateDiagram-v2":
        return _states(lines)
    if kind == "sequenceDiagram":
        return _sequence(lines)
    raise ValueError(f"no drawing for {kind}")


# ── moves between states ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Graph:
    """States in the order in which they are named, and moves with their words."""

    nodes: list[str] = field(default_factory=list)
    moves: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, name: str) -> str:
        if name not in self.nodes:
            self.nodes.append(name)
        return name


@dataclass
class _Layout:
    """Where each state stands, and the bends of each move that passes by others: (layer, name) in layers from the top."""

    layers: list[list[str]]
    chains: dict[tuple[str, str], list[str]]
    x: dict[str, float] = field(default_factory=dict)
    width: dict[str, float] = field(default_factory=dict)

    def y(self, name: str) -> float:
        """The middle of a state or bend."""
        at = next(number for number, layer in enumerate(self.layers) if name in layer)
        return _EDGE + _HIGH / 2 + at * (_HIGH + _GAP_Y)


def _states(lines: Sequence[str]) -> str:
    graph = _Graph()
    for line in lines:
        found = _STEP.fullmatch(line)
        if found is None:
            raise ValueError(f"no drawing for {line!r}")
        at = graph.add(START if found[1] == "[*]" else found[1])
        to = graph.add(END if found[2] == "[*]" else found[2])
        graph.moves.append((at, to, found[3] or ""))
    layout = _laid_out(graph)
    wide = max(layout.x[name] + layout.width[name] / 2 for layer in layout.layers for name in layer) + _EDGE + 24
    tall = layout.y(layout.layers[-1][0]) + _HIGH / 2 + _EDGE
    parts = [*_drawn_moves(graph, layout), *(_drawn_state(name, layout) for name in graph.nodes)]
    told = "; ".join(f"{at} to {to}" + (f" ({words})" if words else "") for at, to, words in graph.moves if "[*]" not in at + to)
    return _picture(wide, tall, f"Moves between states: {told}.", parts)


def _laid_out(graph: _Graph) -> _Layout:
    forward = _without_circles(graph)
    depth = _depths(graph.nodes, forward)
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in graph.nodes:
        layers[depth[name]].append(name)
    chains = {}
    for at, to in forward:
        bends = [f"{at}>{to}@{level}" for level in range(depth[at] + 1, depth[to])]
        for level, bend in enumerate(bends, depth[at] + 1):
            layers[level].append(bend)
        chains[at, to] = [at, *bends, to]
    layout = _Layout(layers, chains)
    for layer in layers:
        for name in layer:
            words = max((len(said) for _, to, said in graph.moves if to == name), default=0)
            layout.width[name] = max(_own_width(name), words * _LETTER * 0.8)
    _order(layout)
    _place(layout)
    return layout


def _own_width(name: str) -> float:
    return 16 if name in {START, END} else 10 if "@" in name else max(64, len(name) * _LETTER + 26)


def _without_circles(graph: _Graph) -> list[tuple[str, str]]:
    """Each pair of different states once, turned so that following them never leads back: depth first, in the order of naming."""
    after: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for at, to, _ in graph.moves:
        if at != to and to not in after[at]:
            after[at].append(to)
    done: set[str] = set()
    open_: list[str] = []
    pairs: list[tuple[str, str]] = []

    def visit(name: str) -> None:
        open_.append(name)
        for to in after[name]:
            pair = (to, name) if to in open_ else (name, to)
            if pair not in pairs:
                pairs.append(pair)
            if to not in open_ and to not in done:
                visit(to)
        open_.pop()
        done.add(name)

    for name in graph.nodes:
        if name not in done:
            visit(name)
    return pairs


def _depths(nodes: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for at, to in pairs:
            depth[to] = max(depth[to], depth[at] + 1)
    return depth


def _neighbours(layout: _Layout) -> dict[str, list[str]]:
    beside: dict[str, list[str]] = {name: [] for layer in layout.layers for name in layer}
    for chain in layout.chains.values():
        for one, other in pairwise(chain):
            beside[one].append(other)
            beside[other].append(one)
    return beside


def _order(layout: _Layout) -> None:
    """Within each layer, stand near those that one is joined with: the mean of their places, down and up again."""
    beside = _neighbours(layout)
    for sweep in range(_SWEEPS):
        going = layout.layers if sweep % 2 == 0 else layout.layers[::-1]
        place = {name: number - len(layer) / 2 for layer in layout.layers for number, name in enumerate(layer)}
        for layer in going:
            now = {name: number for number, name in enumerate(layer)}
            layer.sort(key=lambda name: (_mean([place[each] for each in beside[name]], now[name]), now[name]))
            place |= {name: number - len(layer) / 2 for number, name in enumerate(layer)}


def _place(layout: _Layout) -> None:
    """Let each layer move towards those it is joined with, keeping its order and its distances; the left edge is 0 in the end."""
    beside, x = _neighbours(layout), layout.x
    for layer in layout.layers:
        right = 0.0
        for name in layer:
            x[name] = right + layout.width[name] / 2
            right += layout.width[name] + _GAP_X
    for sweep in range(_SWEEPS):
        for layer in layout.layers if sweep % 2 == 0 else layout.layers[::-1]:
            wish = [_mean([x[each] for each in beside[name]], x[name]) for name in layer]
            least = list(_apart(layout, layer, wish))
            most = [-each for each in _apart(layout, layer[::-1], [-each for each in wish[::-1]])][::-1]
            x |= {name: (low + high) / 2 for name, low, high in zip(layer, least, most, strict=True)}
    left = min(x[name] - layout.width[name] / 2 for layer in layout.layers for name in layer)
    layout.x = {name: at - left + _EDGE for name, at in x.items()}


def _apart(layout: _Layout, layer: Sequence[str], wish: Sequence[float]) -> Iterator[float]:
    """The wishes from left to right, each moved right as far as its neighbour needs."""
    last: float | None = None
    before = 0.0
    for name, wanted in zip(layer, wish, strict=True):
        half = layout.width[name] / 2
        last = wanted if last is None else max(wanted, last + before + _GAP_X + half)
        before = half
        yield last


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _drawn_state(name: str, layout: _Layout) -> str:
    x, y, width = layout.x[name], layout.y(name), _own_width(name)
    if name == START:
        return f'<circle class="dot" cx="{x:.0f}" cy="{y:.0f}" r="7"/>'
    if name == END:
        return f'<circle class="ring" cx="{x:.0f}" cy="{y:.0f}" r="9"/><circle class="dot" cx="{x:.0f}" cy="{y:.0f}" r="5"/>'
    box = f'<rect class="box" x="{x - width / 2:.0f}" y="{y - _HIGH / 2:.0f}" width="{width:.0f}" height="{_HIGH}" rx="8"/>'
    return f'{box}<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{escape(name)}</text>'


def _drawn_moves(graph: _Graph, layout: _Layout) -> Iterator[str]:
    there = {(at, to) for at, to, _ in graph.moves}
    written: set[tuple[str, str]] = set()
    for at, to, words in graph.moves:
        if at == to:
            yield _drawn_loop(at, words, layout)
            continue
        chain = layout.chains.get((at, to)) or layout.chains[to, at][::-1]
        aside = 9.0 if (to, at) in there else 0.0  # there and back are two lines
        shift = aside if (at, to) in layout.chains else -aside
        points = [(layout.x[name] + shift, layout.y(name)) for name in chain]
        down = points[-1][1] > points[0][1]
        half = _HIGH / 2 if down else -_HIGH / 2
        points[0] = (points[0][0], points[0][1] + _reach(chain[0], half))
        points[-1] = (points[-1][0], points[-1][1] - _reach(chain[-1], half))
        yield f'<path class="line" d="{_curve(points)}" marker-end="url(#tip)"/>'
        if words and (to, words) not in written:  # one word is enough for all moves that mean it
            written.add((to, words))
            (x1, y1), (x2, y2) = points[-2], points[-1]  # near its end, where moves from one state have parted
            share = 0.5 if aside else 0.66
            x, y = x1 + (x2 - x1) * share, y1 + (y2 - y1) * share + 4
            anchor = "middle" if not aside else "start" if shift > 0 else "end"
            x += 0 if not aside else 6 if shift > 0 else -6
            yield f'<text class="word" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'


def _reach(name: str, half: float) -> float:
    return half if name not in {START, END} else (9 if half > 0 else -9)


def _drawn_loop(name: str, words: str, layout: _Layout) -> str:
    right, y = layout.x[name] + _own_width(name) / 2, layout.y(name)
    path = f"M{right:.0f},{y - 8:.0f} c26,-8 26,24 2,16"
    word = f'<text class="word" x="{right + 24:.0f}" y="{y - 12:.0f}">{escape(words)}</text>' if words else ""
    return f'<path class="line" d="{path}" marker-end="url(#tip)"/>{word}'


def _curve(points: Sequence[tuple[float, float]]) -> str:
    path = f"M{points[0][0]:.0f},{points[0][1]:.0f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (y1 + y2) / 2
        path += f" C{x1:.0f},{middle:.0f} {x2:.0f},{middle:.0f} {x2:.0f},{y2:.0f}"
    return path


# ── who says what to whom ────────────────────────────────────────────────────────────────────────────────────────────


def _sequence(lines: Sequence[str]) -> str:
    names: dict[str, str] = {}
    said: list[tuple[str, str, str, str]] = []
    for line in lines:
        if who := _PARTICIPANT.fullmatch(line):
            names[who[1]] = who[2] or who[1]
        elif message := _MESSAGE.fullmatch(line):
            said.append((message[1], message[2], message[3], message[4]))
        else:
            raise ValueError(f"no drawing for {line!r}")
    column = 128.0
    x = {name: _EDGE + column / 2 + number * column for number, name in enumerate(names)}
    tall = _EDGE + _HIGH + 22 + len(said) * 38
    parts = [
        f'<line class="life" x1="{at:.0f}" y1="{_EDGE + _HIGH}" x2="{at:.0f}" y2="{tall}"/>'
        f'<rect class="box" x="{at - column / 2 + 5:.0f}" y="{_EDGE}" width="{column - 10:.0f}" height="{_HIGH}" rx="8"/>'
        f'<text x="{at:.0f}" y="{_EDGE + _HIGH / 2 + 5:.0f}" text-anchor="middle">{escape(names[name])}</text>'
        for name, at in x.items()
    ]
    wide = _EDGE * 2 + column * len(names)
    for number, (at, arrow, to, words) in enumerate(said):
        y = _EDGE + _HIGH + 40 + number * 38
        dashed = " dashed" if arrow == "-->>" else ""
        parts.append(f'<line class="line{dashed}" x1="{x[at]:.0f}" y1="{y}" x2="{x[to]:.0f}" y2="{y}" marker-end="url(#tip)"/>')
        left = min(x[at], x[to]) + 8
        left = min(left, wide - _EDGE - len(words) * _LETTER * 0.86)  # a long one begins further left, and stays in the picture
        parts.append(f'<text class="word" x="{max(left, _EDGE):.0f}" y="{y - 6}">{escape(words)}</text>')
    told = "; ".join(f"{names[at]} to {names[to]}: {words}" for at, _, to, words in said)
    return _picture(wide, tall + _EDGE, f"Who says what to whom: {told}.", parts)


def _picture(wide: float, tall: float, told: str, parts: Sequence[str]) -> str:
    name = f"tip-{crc32(told.encode()):08x}"  # several pictures stand on one page
    tip = f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {tall:.0f}" width="{wide:.0f}" role="img"'
    tips = f'<defs>{tip}<path class="dot" d="M0,0 L8,4 L0,8 z"/></marker></defs>'
    drawn_parts = [part.replace("url(#tip)", f"url(#{name})") for part in parts]
    return "\n".join([f'{head} aria-label="{escape(told)}">', tips, *drawn_parts, "</svg>"])
