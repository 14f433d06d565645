"""The detectors that a process has loaded, so that an engine that makes a new callable for each task loads
a model once.

This is the one place of upland that is shared by a process (docs/decisions/0017). A detector is found by the
digest of its file, so that the same bytes always give the same scores, whether they were loaded before or
not.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from upland.io.locks import ProcessLock

if TYPE_CHECKING:
    from upland.detectors.base import Detector

MOST = 8
"""How many detectors are kept; the one that was asked for longest ago gives way."""


class Detectors:
    """Detectors by the digest of the file that they were loaded from; threads may ask at the same time."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, Detector] = OrderedDict()
        self._lock = ProcessLock()

    def get(self, digest: str, data: bytes, path: str) -> Detector:
        """The detector of a model file; raises as `upland.load`.

        Args:
            digest: SHA-256 of the bytes.
            data: All bytes of the file.
            path: What messages call it.
        """
        with self._lock:
            if digest not in self._found:
                from upland.persistence import load_bytes

                self._found[digest] = load_bytes(data, path)
            self._found.move_to_end(digest)
            while len(self._found) > MOST:
                self._found.popitem(last=False)
            return self._found[digest]


OF_THIS_PROCESS = Detectors()
