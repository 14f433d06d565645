"""The models of a server, by name, and the renewal of one whose file has changed."""

from __future__ import annotations

import copy
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upland.catalogue import Unit
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.sequence import SequenceDetector
from upland.scoring.scorer import Scorer
from upland.serve.bodies import Cells
from upland.serve.errors import Refusal
from upland.serve.series import beginning

if TYPE_CHECKING:
    from upland.detectors.base import Detector
    from upland.detectors.stream import Stream
    from upland.io.schema import Schema

LOG = logging.getLogger("upland.serve")


class HeldScorer(Scorer):
    """A scorer that holds its detector, however many models the process has loaded since.

    Args:
        model: the path of a model file.
        alpha: the false-alarm rate that flags keep; None is the model's own.
    """

    _held: Detector | None = None

    def __init__(self, model: Path, alpha: float | None) -> None:
        super().__init__(model, alpha)
        self._held = super().detector

    @property
    def detector(self) -> Detector:
        """The fitted detector."""
        return super().detector if self._held is None else self._held

    def asked(self, alpha: float, explain: int = 0, groups: Any = None, statistic: str = "auto") -> Scorer:
        """The same with what a request asks for; the arguments are those of `Scorer`, checked."""
        made = copy.copy(self)
        made.alpha, made.explain, made.groups, made.statistic = alpha, explain, groups, statistic
        made.replace_columns = True
        return made


@dataclass(frozen=True)
class Served:
    """One state of a model file.

    Args:
        name: by which clients name the model.
        scorer: of the file.
        stamp: time, size and number of the file, as the file system gives them.
        schema: of the columns of its table; None for images.
        cells: reads plain values for it.
        start: the state before the first step of a series; None where the model has no steps.
    """

    name: str
    scorer: HeldScorer
    stamp: tuple[int, int, int]
    schema: Schema | None
    cells: Cells
    start: Stream | None

    @property
    def detector(self) -> Detector:
        """The fitted detector."""
        return self.scorer.detector

    @property
    def version(self) -> str:
        """The first digits of the file's digest."""
        return self.scorer.digest[:12]

    @property
    def alpha(self) -> float:
        """The false-alarm rate that flags keep where a request does not say another."""
        return self.scorer.alpha

    @property
    def unit(self) -> Unit:
        """What one score is of."""
        return self.detector.unit_


class Models:
    """Models by name; a request takes one once and keeps it, whatever is loaded meanwhile.

    Args:
        paths: of the model files.
        alpha: the false-alarm rate that flags keep by default; None is each model's own.

    Raises:
        ValueError: two files have the same name.
        TensorFileError, OSError: a file cannot be loaded.
    """

    def __init__(self, paths: Sequence[Path], alpha: float | None) -> None:
        self._alpha = alpha
        self._paths = {name_of(path): path for path in paths}
        if len(self._paths) < len(paths):
            names = [name_of(path) for path in paths]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"two model files are named {', '.join(twice)}: rename one")
        self._served = {name: self._load(name) for name in self._paths}
        self._failed: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def __len__(self) -> int:
        return len(self._served)

    @property
    def names(self) -> list[str]:
        """The names, in the order of the files."""
        return list(self._served)

    def get(self, name: str | None) -> Served:
        """A model by its name, or the only one where no name is given.

        Raises:
            Refusal: 404 where there is no such model; all are listed.
        """
        if name is None and len(self._served) == 1:
            return next(iter(self._served.values()))
        known = ", ".join(self._served)
        if name is None:
            raise Refusal(404, f"this server has several models: use /models/NAME/score, NAME one of {known}")
        if name not in self._served:
            raise Refusal(404, f"there is no such model; there are: {known}")
        return self._served[name]

    def renew(self, loaded: Callable[[str, bool], None]) -> None:
        """Load every file that has changed; one that cannot be loaded leaves the model as it was.

        Args:
            loaded: called with the name of a model, and whether its file was loaded.
        """
        with self._lock:
            for name, path in self._paths.items():
                stamp = _stamp(path)
                if stamp is None or stamp in (self._served[name].stamp, self._failed.get(name)):
                    continue
                self._renew(name, stamp, loaded)

    def _renew(self, name: str, stamp: tuple[int, int, int], loaded: Callable[[str, bool], None]) -> None:
        before = self._served[name].version
        try:
            served = self._load(name)
        except (ValueError, OSError) as error:
            self._failed[name] = stamp
            LOG.error("the changed model file is not used", extra={"model": name, "reason": str(error)})
            loaded(name, False)
            return
        self._failed.pop(name, None)
        self._served[name] = served
        if served.version != before:
            LOG.info("model reloaded", extra={"model": name, "version": served.version, "before": before})
            loaded(name, True)

    def _load(self, name: str) -> Served:
        path = self._paths[name]
        stamp = _stamp(path) or (0, 0, 0)  # before it is read: what changes meanwhile is seen next time
        scorer = HeldScorer(path, self._alpha)
        detector = scorer.detector
        schema = _schema(detector.encoder_)
        start = beginning(detector) if isinstance(detector, SequenceDetector) else None
        return Served(name, scorer, stamp, schema, Cells(schema), start)


def name_of(path: Path) -> str:
    """The name of a model: that of its file without suffix, other signs as underscores.

    Examples:
        >>> name_of(Path("models/my pump.safetensors"))
        'my_pump'
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", path.name.removesuffix(".safetensors")) or "model"


def _schema(encoder: Any) -> Schema | None:
    """The columns that an encoder learned; None of images."""
    if isinstance(encoder, SequenceEncoder):
        return encoder.table.schema_
    return encoder.schema_ if isinstance(encoder, TableEncoder) else None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None where it is not there, as for a moment while it is replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
