"""Why some outliers are never sampled though they are likelier than normal data: table and figure of flows.md.

    python docs/why_not_sampled.py

A flow learns handwritten digits. Digits of a quarter of their contrast get a higher likelihood than digits; so
they should be common among its samples. None of 10,000 comes near them: their latents have too short a norm and
too large a divergence from N(0, I). Writes `why_not_sampled.svg` beside itself and prints the table; about a
minute on one core.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from upland.criteria.groups import Divergence, Rows
from upland.judges import readings
from upland.latentdetectors import FlowDetector

SAMPLES, TRAINED, CONTRAST = 10_000, 1_300, 0.25
WIDTH, HEIGHT, BINS = 250, 150, 40
COLOURS = {"digits": "#4878a8", "low contrast": "#c44e52", "samples": "#8c8c8c"}
Values = NDArray[np.float64]


def measured(rows: Rows) -> dict[str, Values]:
    """Log-likelihood and norm of each row's latents, and how far their parts are from N(0, I)."""
    z = torch.cat([level.mean.flatten(1) for level in rows.levels], 1).double()
    statistic = Divergence("block", 0, "prior").fit(rows)
    one = torch.ones(1, dtype=torch.float64)
    features = statistic.features(rows)
    return {
        "log-likelihood (nats)": -rows.energy.numpy(),
        "norm of the latents": z.norm(dim=1).numpy(),
        "divergence of their blocks (nats)": statistic.value(features, one.expand(len(z))).numpy(),
    }


def experiment(seed: int = 0, epochs: int | None = None) -> dict[str, dict[str, Values]]:
    """What is measured of held-out digits, of the same in low contrast, and of the flow's samples."""
    order = np.random.default_rng(seed).permutation(1_797)
    digits = (load_digits().images * 15.9).astype(np.uint8)[order]
    new = digits[TRAINED:]
    mean = new.mean(axis=(1, 2), keepdims=True)
    pale = np.rint(mean + CONTRAST * (new - mean)).astype(np.uint8)
    detector = FlowDetector(kind="image", criterion="likelihood", epochs=epochs, random_state=seed)
    member = detector.fit(digits[:TRAINED]).members_[0]
    sampled = member.model.sample(SAMPLES, torch.Generator().manual_seed(seed))
    encoded = {
        "digits": torch.from_numpy(member.encoder.transform(new)),
        "low contrast": torch.from_numpy(member.encoder.transform(pale)),
        "samples": sampled,
    }
    return {name: measured(readings(member, x)) for name, x in encoded.items()}
