"""Detectors that are trained once and kept in a folder, each with the facts of its training in JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def remembered(path: Path | None, make: Callable[[], Any], train: Any) -> tuple[Any, dict[str, Any]]:
    """The fitted detector, from the file or trained, and its facts; without a path nothing is kept."""
    import upland

    if path is not None and path.with_suffix(".json").exists():
        return upland.load(path), json.loads(path.with_suffix(".json").read_text())
    start = time.process_time()
    detector = make().fit(train)
    facts = {
        "fit_seconds": time.process_time() - start,
        "n_train": len(train),
        "parameters": sum(weight.numel() for weight in detector.members_[0].model.parameters()),
    }
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        upland.save(detector, path)
        path.with_suffix(".json").write_text(json.dumps(facts) + "\n")
        print(f"{path.stem}: trained in {facts['fit_seconds']:.0f} s", flush=True)
    return detector, facts
