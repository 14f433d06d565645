"""Draw the picture of the README: handwritten digits, their p-values and heat maps.

    python docs/make_picture.py

A detector is fitted on the zeros among the digits that scikit-learn bundles. It then scores zeros that it has
not seen, one of them with a spot added, and other digits. Writes `docs/img/digits.svg`, with colours for
light and dark backgrounds; a few seconds on one core.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import upland

TARGET = Path(__file__).resolve().parent / "img" / "digits.svg"
HELD_OUT, ALPHA = 28, 0.05
SIDE, GAP, LEFT, TOP = 80, 16, 92, 40
COLD, HOT = np.array([255, 247, 188]), np.array([189, 0, 38])
STYLE = """
.card { fill: #ffffff; stroke: #d0d7de } .faint { fill: #59636e }
text { fill: #1f2328; font: 13px sans-serif }
.bad { fill: #c1121f; font-weight: bold }
@media (prefers-color-scheme: dark) {
.card { fill: #161b22; stroke: #3d444d } .faint { fill: #9198a1 }
text { fill: #e6edf3 } .bad { fill: #ff7b72 } }
"""


def data() -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[str]]:
    """Zeros to fit on, images to score, and what these are."""
    digits = load_digits()
    images = (digits.images * 15.9).astype(np.uint8)
    zeros = np.random.default_rng(0).permutation(images[digits.target == 0])
    spotted = zeros[4].copy()
    spotted[6:, 6:] = 255
    others = [images[digits.target == digit][0] for digit in (1, 3, 6, 9)]
    names = ["zero", "zero", "zero + spot", "one", "three", "six", "nine"]
    return zeros[HELD_OUT:], np.stack([zeros[2], zeros[3], spotted, *others]), names


def pixels(colours: NDArray[np.int64], x: float, y: float) -> str:
    """An image `(H, W, 3)` as squares, one path for each colour."""
    step = SIDE / len(colours)
    paths = []
    for colour in np.unique(colours.reshape(-1, 3), axis=0):
        rows, columns = np.nonzero((colours == colour).all(axis=2))
        squares = "".join(
            f"M{x + column * step:g} {y + row * step:g}h{step:g}v{step:g}h-{step:g}z"
            for row, column in zip(rows, columns, strict=True)
        )
        paths.append(f'<path fill="#{bytes(colour.tolist()).hex()}" d="{squares}"/>')
    return f'<g shape-rendering="crispEdges">{"".join(paths)}</g>'


def grey(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Ink on paper."""
    return np.repeat(255 - image.astype(np.int64)[..., None] * 225 // 255, 3, axis=2)


def heat(values: NDArray[np.floating], most: float) -> NDArray[np.int64]:
    """Shares of the score from pale yellow to red, in 12 steps."""
    share = np.rint(np.sqrt(np.clip(values / most, 0, 1)) * 12)[..., None] / 12
    return np.rint(COLD + share * (HOT - COLD)).astype(np.int64)


def text(words: str, x: float, y: float, kind: str = "", anchor: str = "middle") -> str:
    """One line of words."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{words}</text>'


def picture() -> str:
    """The picture as SVG."""
    normal, new, names = data()
    detector = upland.ImageEnergyDetector(random_state=0).fit(normal)
    p_values, maps = detector.p_values(new), upland.explain(detector, new).heat()
    most = float(maps.max())
    rows = (TOP, TOP + SIDE + GAP, TOP + 2 * SIDE + 2.5 * GAP, TOP + 2 * SIDE + 3.8 * GAP)
    parts = [
        text("image", LEFT - GAP, rows[0] + SIDE / 2, "faint", "end"),
        text("heat map", LEFT - GAP, rows[1] + SIDE / 2, "faint", "end"),
        text("p-value", LEFT - GAP, rows[2], "faint", "end"),
    ]
    for number, (image, hot, p, name) in enumerate(zip(new, maps, p_values, names, strict=True)):
        x = LEFT + number * (SIDE + GAP)
        verdict, style = ("anomaly", "bad") if p <= ALPHA else ("normal", "")
        parts += [
            text(name, x + SIDE / 2, TOP - 12),
            pixels(grey(image), x, rows[0]),
            pixels(heat(hot, most), x, rows[1]),
            text(f"{p:.3f}", x + SIDE / 2, rows[2], style),
            text(verdict, x + SIDE / 2, rows[3], style),
        ]
    width, height = LEFT + len(new) * (SIDE + GAP) + GAP, TOP + 2 * SIDE + 5 * GAP
    card = f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>'
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    content = f"<style>{STYLE}</style>{card}{''.join(parts)}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{content}</svg>\n'


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(picture(), encoding="utf-8")
