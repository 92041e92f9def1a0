"""The curve of `make bench ARGS=readers`: time by number of readers, as an SVG."""

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 56, 60
COLOURS = {"ours": "#0b62a4", "libtorrent": "#c2570c"}
NAMES = {"ours": "Shoal", "libtorrent": "libtorrent"}


def draw(series: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """An SVG of (readers, time by the optimum) for each system; the optimum is the line at 1."""
    counts = sorted({count for points in series.values() for count, _ in points})
    top = max(2.0, *(0.5 * -(-value // 0.5) for points in series.values() for _, value in points))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(count: int) -> float:
        return LEFT + (right - LEFT) * counts.index(count) / (len(counts) - 1)

    def y(value: float) -> float:
        return bottom - (bottom - TOP) * value / top

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, "One owner, 256 MiB, all readers at once, 100 Mbit/s each way", size=15),
        _text(LEFT, 40, "until the last reader has the last byte; medians of make bench", fill="#555"),
        _text((LEFT + right) / 2, HEIGHT - 16, "readers", anchor="middle"),
        f'<g transform="rotate(-90 20 {(TOP + bottom) / 2})">'
        + _text(20, (TOP + bottom) / 2, "time / optimum", anchor="middle")
        + "</g>",
    ]
    step = 0.5 if top <= 4 else 1.0
    for number in range(int(top / step) + 1):
        value = number * step
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{right}" stroke="#ddd"/>')
        out.append(_text(LEFT - 8, y(value) + 4, f"{value:g}", anchor="end"))
    out += [_text(x(count), bottom + 20, str(count), anchor="middle") for count in counts]
    out.append(f'<path d="M{LEFT} {y(1):.1f}H{right}" stroke="#333" stroke-width="1.5" stroke-dasharray="5 4"/>')
    ends = {"the optimum": (1.0, "#333")}
    for name, points in series.items():
        line = " ".join(f"{x(count):.1f},{y(value):.1f}" for count, value in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        for count, value in points:
            out.append(f'<circle cx="{x(count):.1f}" cy="{y(value):.1f}" r="3.5" fill="{COLOURS[name]}"/>')
        ends[f"{NAMES[name]} {points[-1][1]:.2f}"] = (points[-1][1], COLOURS[name])
    below = bottom + 30.0
    for text, (value, colour) in sorted(ends.items(), key=lambda end: end[1][0]):
        below = min(y(value) + 4, below - 16)  # names beside the lines' ends, none over another
        out.append(_text(right + 10, below, text, fill=colour))
    return "\n".join([*out, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "start", fill: str = "#222", size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}">{text}</text>'
