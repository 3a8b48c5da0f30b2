"""Draws what `cargo demo` says, for the README: `cargo demo >FILE 2>&1`, then `python3 .ci/pictures/demo.py FILE`.

Writes docs/images/demo-light.svg and demo-dark.svg. What is left out is an ellipsis in the picture. With `--check FILE` nothing
is written: each line of the picture must still be said by the demo, apart from times and numbers.
"""

import argparse
import pathlib
import re
import sys
import typing
import xml.etree.ElementTree
import xml.sax.saxutils

IMAGES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "images"
ELLIPSIS = "…"
# A line that is wider is cut, with an ellipsis; and so many lines are enough for a picture.
COLUMNS, LINES = 100, 40
# A glyph of any monospaced font is three fifths of its size wide, near enough.
FONT_SIZE, GLYPH, LINE = 13, 7.83, 19
PADDING, BAR = 18, 34
FONTS = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
# The time at the beginning of a line, or the blanks below it.
TIME = re.compile(r"^(\[ *\d+\.\d+s\] | {9})")

# What is drawn: from the line that begins with this, apart from the time, so many lines. All else is left out.
SCENES = [
    ("producer enqueue", 3),
    ("two workers, process ids", 4),
    ("the two projects whose keys are right", 3),
    ("one project has a wrong key", 3),
    ("the key is corrected", 3),
    ("producer dead-letters requeue", 1),
    ("1 dead letter requeued", 2),
    ("a replay, published", 3),
    ("today goes on", 1),
    ("a day later, PostHog is asked", 4),
    ("the dashboard of shop-assistant", 2),
]


class Theme(typing.NamedTuple):
    """Colours of a picture."""

    back: str
    edge: str
    text: str
    time: str
    good: str


THEMES = {
    "light": Theme("#ffffff", "#d0d7de", "#1f2328", "#59636e", "#116329"),
    "dark": Theme("#0d1117", "#3d444d", "#e6edf3", "#9198a1", "#7ee787"),
}


def without_time(line):
    return TIME.sub("", line)


def cut(line):
    return line if len(line) <= COLUMNS else line[: COLUMNS - 1].rstrip() + ELLIPSIS


def draw_lines(said):
    """The lines of the picture, out of all that the demo said; an error names the scene that it did not play."""
    lines = [line.rstrip() for line in said.splitlines()]
    drawn, at = ["$ cargo demo"], 0
    for begins, count in SCENES:
        found = next((n for n in range(at, len(lines)) if without_time(lines[n]).startswith(begins)), None)
        if found is None:
            raise ValueError(f"the demo does not say {begins!r}, or not in this order")
        if found > at:
            drawn.append(ELLIPSIS)
        drawn += [cut(line) for line in lines[found : found + count]]
        at = found + count
    if len(drawn) > LINES:
        raise ValueError(f"{len(drawn)} lines are too many for a picture")
    return drawn


def draw(lines, theme):
    """A window with the lines in it: text, so that it can be searched and read aloud, and no font from elsewhere."""
    width = round(COLUMNS * GLYPH + 2 * PADDING)
    height = BAR + len(lines) * LINE + PADDING
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img" aria-label="What cargo demo prints">',
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="{theme.back}" stroke="{theme.edge}"/>',
        *(f'<circle cx="{20 + 18 * n}" cy="18" r="5.5" fill="{theme.edge}"/>' for n in range(3)),
        f'<g font-family="{FONTS}" font-size="{FONT_SIZE}" fill="{theme.text}">',
    ]
    for number, line in enumerate(lines):
        y = BAR + LINE * (number + 1) - 5
        time = TIME.match(line)
        begin = time[0] if time else ""
        text = xml.sax.saxutils.escape(line[len(begin) :])
        if begin.strip():
            text = f'<tspan fill="{theme.time}">{begin}</tspan>{text}'
        else:
            text = begin + text
        colour = ""
        if line == ELLIPSIS:
            colour = f' fill="{theme.time}"'
        elif line.startswith(("$ ", "delivered ")):
            colour = f' fill="{theme.good}" font-weight="bold"'
        parts.append(f'<text x="{PADDING}" y="{y}" xml:space="preserve"{colour}>{text}</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


def lines_of(picture):
    """The lines that a picture shows."""
    root = xml.etree.ElementTree.fromstring(picture)
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def stable(lines):
    """The words of lines, without what differs from run to run: times, numbers, and where a line is folded."""
    words = " ".join(" ".join(without_time(line) for line in lines).split())
    return re.sub(r"\ball 0\b", "0 of 0", re.sub(r"[\d.,:-]*\d", "0", words))


def faults(picture, said):
    """Lines of a picture that the demo does not say any more, in this order."""
    known = stable(said.splitlines())
    found, at = [], 0
    for line in lines_of(picture)[1:]:
        shown = stable([line]).removesuffix(ELLIPSIS)
        match = known.find(shown, at)
        if match < 0:
            found.append(line)
        else:
            at = match + len(shown)
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("said", type=pathlib.Path, metavar="FILE", help="what `cargo demo` said, both outputs together")
    arguments.add_argument("--check", action="store_true", help="only look whether the pictures still say what the demo says")
    given = arguments.parse_args()
    said = given.said.read_text(encoding="utf-8")
    status = 0
    for name, theme in THEMES.items():
        path = IMAGES / f"demo-{name}.svg"
        if not given.check:
            path.write_text(draw(draw_lines(said), theme), encoding="utf-8")
            continue
        for line in faults(path.read_text(encoding="utf-8"), said):
            print(f"docs/images/demo-{name}.svg shows what `cargo demo` does not say: {line}", file=sys.stderr)
            status = 1
    if status:
        print("draw it anew: cargo demo >FILE 2>&1; python3 .ci/pictures/demo.py FILE", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
