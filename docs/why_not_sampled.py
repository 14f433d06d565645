"""Why some outliers are never sampled though they are likelier than normal data: the figure of flows.md.

    python docs/why_not_sampled.py

A flow learns patches of two photographs that scikit-learn bundles. The same patches in fog (a tenth of their
contrast) then get a higher likelihood; so they should be common among its samples. None of 10,000 comes near
them: their latents have too short a norm and too large a divergence from N(0, I). Writes the figure to
`img/` and prints the table and the shares of the page; about a minute on one core. Needs Pillow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image
from sklearn.metrics import roc_auc_score

import upland
from upland.groups.divergence import Divergence
from upland.groups.outputs import ModelOutputs, model_outputs

SAMPLES, HELD_OUT, SIDE, TEXTURE, FOG = 10_000, 200, 16, 16, 0.1
LIKELIHOOD, NORM, DIVERGENCE = "log-likelihood (nats)", "norm of the latents", "divergence of latents (nats)"
COLOURS = {"samples": "#8c8c8c", "patches": "#4878a8", "fog": "#c44e52"}
WIDTH, HEIGHT, GAP, BINS = 240, 130, 20, 40
Values = NDArray[np.float64]
Found = dict[str, dict[str, Values]]


def patches(generator: np.random.Generator) -> NDArray[np.uint8]:
    """Grey patches that are not smooth, in random order."""
    parts = []
    for name in ("china.jpg", "flower.jpg"):
        grey = load_sample_image(name).mean(axis=2)
        parts.append(sliding_window_view(grey, (SIDE, SIDE))[::SIDE, ::SIDE].reshape(-1, SIDE, SIDE))
    found = np.rint(np.concatenate(parts)).astype(np.uint8)
    return generator.permutation(found[found.std(axis=(1, 2)) > TEXTURE])


def measured(outputs: ModelOutputs) -> dict[str, Values]:
    """Log-likelihood and norm of each row's latents, and how far their blocks are from N(0, I)."""
    z = torch.cat([level.mean.flatten(1) for level in outputs.levels], 1).double()
    statistic = Divergence("block", 0, "prior").fit(outputs)
    ones = torch.ones(len(z), dtype=torch.float64)
    return {
        LIKELIHOOD: -outputs.energy.numpy(),
        NORM: z.norm(dim=1).numpy(),
        DIVERGENCE: statistic.value(statistic.features(outputs), ones).numpy(),
    }


def experiment(epochs: int = 25, samples: int = SAMPLES, seed: int = 0) -> Found:
    """What is measured of samples, of held-out patches, and of the same in fog."""
    images = patches(np.random.default_rng(seed))
    new = images[:HELD_OUT].astype(np.float64)
    mean = new.mean(axis=(1, 2), keepdims=True)
    fog = np.rint(mean + FOG * (new - mean)).astype(np.uint8)
    detector = upland.ImageFlowDetector(criterion="likelihood", epochs=epochs, random_state=seed)
    member = detector.fit(images[HELD_OUT:]).members_[0]
    encoded = {
        "samples": member.model.sample(samples, torch.Generator().manual_seed(seed)),
        "patches": torch.from_numpy(member.encoder.transform(images[:HELD_OUT])),
        "fog": torch.from_numpy(member.encoder.transform(fog)),
    }
    return {name: measured(model_outputs(member.model, member.sigma, x)) for name, x in encoded.items()}


def table(found: Found) -> str:
    """What the page shows."""
    lines = [
        "| | samples: least, median, most | patches: median | fog: least, median, most |",
        "|---|---|---:|---|",
    ]
    for what in (LIKELIHOOD, NORM, DIVERGENCE):
        samples, fog = (
            ", ".join(f"{v:.4g}" for v in extremes(found[name][what])) for name in ("samples", "fog")
        )
        lines.append(f"| {what} | {samples} | {np.median(found['patches'][what]):.4g} | {fog} |")
    return "\n".join(lines)


def sentences(found: Found) -> str:
    """The shares that the page states."""
    samples, normal, fog = (found[name] for name in ("samples", "patches", "fog"))
    truth = np.repeat([0, 1], [len(normal[LIKELIHOOD]), len(fog[LIKELIHOOD])])
    likelier = roc_auc_score(truth, np.concatenate([normal[LIKELIHOOD], fog[LIKELIHOOD]]))
    short, far = fog[NORM] < samples[NORM].min(), fog[DIVERGENCE] > samples[DIVERGENCE].max()
    return (
        f"A patch in fog is likelier than a normal one with probability {likelier:.3f}; no sample has a norm "
        f"as short as {short.mean():.1%} of them, none a divergence as large as {far.mean():.1%}, "
        f"and {(short | far).mean():.1%} lie beyond one bound or the other. Of normal patches "
        f"{(normal[NORM] < samples[NORM].min()).mean():.1%} and "
        f"{(normal[DIVERGENCE] > samples[DIVERGENCE].max()).mean():.1%} do."
    )


def extremes(values: Values) -> tuple[float, float, float]:
    """Least, median, most."""
    return float(values.min()), float(np.median(values)), float(values.max())


def figure(found: Found) -> str:
    """Three histograms side by side, as SVG."""
    parts = [panel(found, what, number) for number, what in enumerate((LIKELIHOOD, NORM, DIVERGENCE))]
    names = {
        "samples": f"{len(found['samples'][NORM]):,} samples",
        "patches": "patches",
        "fog": "patches in fog",
    }
    legend = "".join(
        f'<rect x="{GAP + 160 * n}" y="8" width="10" height="10" fill="{COLOURS[name]}"/>'
        f'<text x="{GAP + 160 * n + 16}" y="17">{called}</text>'
        for n, (name, called) in enumerate(names.items())
    )
    width, height = 3 * WIDTH + 4 * GAP, HEIGHT + 80
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="white"/>{legend}{"".join(parts)}</svg>\n'
    )


def panel(found: Found, what: str, number: int) -> str:
    """One histogram of all three, each as high as its largest bar."""
    everything = np.concatenate([values[what] for values in found.values()])
    edges = np.linspace(everything.min(), everything.max(), BINS + 1)
    left, bottom, step = GAP + number * (WIDTH + GAP), HEIGHT + 36, WIDTH / BINS
    bars = []
    for name, values in found.items():
        counts = np.histogram(values[what], edges)[0]
        for index in np.flatnonzero(counts).tolist():
            tall = max(1.5, HEIGHT * counts[index] / counts.max())  # a single one is still seen
            bars.append(
                f'<rect x="{left + index * step:.1f}" y="{bottom - tall:.1f}" width="{step:.1f}" '
                f'height="{tall:.1f}" fill="{COLOURS[name]}" fill-opacity="0.65"/>'
            )
    low, _, high = extremes(everything)
    return (
        f'{"".join(bars)}<path d="M{left} {bottom}h{WIDTH}" stroke="black"/>'
        f'<text x="{left}" y="{bottom + 14}">{low:.3g}</text>'
        f'<text x="{left + WIDTH}" y="{bottom + 14}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{left + WIDTH / 2}" y="{bottom + 32}" text-anchor="middle">{what}</text>'
    )


if __name__ == "__main__":
    outcome = experiment()
    sys.stdout.write(f"{table(outcome)}\n\n{sentences(outcome)}\n")
    (Path(__file__).parent / "img" / "why_not_sampled.svg").write_text(figure(outcome), encoding="utf-8")
