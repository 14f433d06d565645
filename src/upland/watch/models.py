"""The detector of a watch, which may be exchanged under way."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from upland.detectors.base import Detector
from upland.detectors.foreign import check_detector
from upland.io.modelfile import read_bytes
from upland.persistence import load_bytes, save
from upland.watch.columns import Columns


class WatchedModel:
    """A fitted detector and the digest of its file.

    Args:
        model: the detector, or the path of its file, which is read again when it has been replaced.

    Raises:
        FileNotFoundError, TensorFileError: the file is not there or is no model file.
        TypeError: it is no detector.
        sklearn.exceptions.NotFittedError: it is not fitted.
    """

    def __init__(self, model: Any) -> None:
        self.path = Path(model) if isinstance(model, str | os.PathLike) else None
        self._stamp: tuple[int, ...] | None = None
        if self.path is None:
            check_detector(model, "Watch")
            model.check_fitted()
            self._take(model, _digest(model))
        else:
            self.refresh()

    def _take(self, detector: Detector, digest: str) -> None:
        self.detector, self.digest = detector, digest
        self.columns = Columns(detector)

    def refresh(self) -> None:
        """Read the file again if it has been replaced; raises as the constructor."""
        if self.path is None:
            return
        stamp = stamp_of(self.path)
        if stamp is not None and stamp == self._stamp:
            return
        data = read_bytes(self.path)
        digest = hashlib.sha256(data).hexdigest()
        if self._stamp is None or digest != self.digest:
            self._take(load_bytes(data, self.path), digest)
        self._stamp = stamp

    def facts(self, alpha: float) -> tuple[Any, ...]:
        """What the history says of it: path, class, modality, criterion, alpha, calibration and its size.

        Args:
            alpha: the level of single rows.
        """
        detector, calibration = self.detector, self.detector.calibration_
        path = None if self.path is None else str(self.path)
        named = (path, type(detector).__name__, detector.modality, detector.criterion_)
        return (*named, alpha, calibration.method, calibration.size)


def stamp_of(path: Path) -> tuple[int, ...] | None:
    """What tells a file from one that replaces it or is written on; None where there is none.

    Args:
        path: of the file.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(detector: Detector) -> str:
    """The digest of the file that the detector would be saved as."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(detector, path)
        return hashlib.sha256(path.read_bytes()).hexdigest()
