"""upland's detectors with the interface of the peers: defaults, each criterion by name, the paper's model."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Array, Fit, Score


def energy_detector(train: Array, seed: int, **arguments: Any) -> Score:
    """The fitted detector's `anomaly_score`."""
    from upland import EnergyDetector

    return EnergyDetector(random_state=seed, progress=False, **arguments).fit(train).anomaly_score


def sequence_detector(train: Any, seed: int, **arguments: Any) -> Score:
    """The fitted detector's `anomaly_score` of sequences, or of the steps of one series."""
    from upland import SequenceEnergyDetector

    return SequenceEnergyDetector(random_state=seed, progress=False, **arguments).fit(train).anomaly_score


def flow_detector(train: Array, seed: int, **arguments: Any) -> Score:
    """The fitted flow's `anomaly_score`."""
    from upland import FlowDetector

    return FlowDetector(random_state=seed, progress=False, **arguments).fit(train).anomaly_score


def vae_detector(train: Array, seed: int, **arguments: Any) -> Score:
    """The fitted VAE's `anomaly_score`."""
    from upland import VAEDetector

    return VAEDetector(random_state=seed, progress=False, **arguments).fit(train).anomaly_score


PAPER: dict[str, Any] = {"energy": "dsebm"}
"""Arguments that make it the model of Zhai et al. (2016): one net, one scale, one centre."""

MULTISCALE: dict[str, Any] = {"energy": "multiscale"}
"""Arguments that make it the deep multi-scale energy, an earlier default."""

UPLAND: dict[str, Fit] = {
    "upland": energy_detector,
    "upland fast": lambda train, seed: energy_detector(train, seed, speed="fast"),
    "upland multi-scale": lambda train, seed: energy_detector(train, seed, **MULTISCALE),
    "upland energy": lambda train, seed: energy_detector(train, seed, **MULTISCALE, criterion="energy"),
    "upland reconstruction": lambda train, seed: energy_detector(
        train, seed, **MULTISCALE, criterion="reconstruction"
    ),
    "upland paper": lambda train, seed: energy_detector(train, seed, **PAPER, criterion="energy"),
    "upland paper reconstruction": lambda train, seed: energy_detector(
        train, seed, **PAPER, criterion="reconstruction"
    ),
    "upland flow": flow_detector,
    "upland vae": vae_detector,
}
