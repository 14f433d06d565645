"""Classes of normal data: which each row is of, and what a member keeps of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.data.image.container import Images
from upland.detectors.ensemble import Member
from upland.detectors.plan import FitPlan
from upland.detectors.reference_rows import some_of
from upland.groups.labels import is_missing, listed
from upland.groups.outputs import Reference
from upland.io.advice import Advice, Argument
from upland.models.class_mixture import ClassMixture

Indices = NDArray[np.int64]

LEAST_IMAGES = 2
"""Normal images of a class, at least."""

SUBFOLDERS = "subfolders"
"""What stands for the names of the folders that images lie in."""


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of each normal row.

    Args:
        names: of the classes, in order.
        codes: `(N,)` the number of each row's.
    """

    names: tuple[str, ...]
    codes: Indices

    def digest(self) -> str:
        """SHA-256, which tells these classes from others."""
        found = hashlib.sha256(repr(self.names).encode())
        found.update(np.ascontiguousarray(self.codes, dtype="<i8").tobytes())
        return found.hexdigest()


def class_name(label: Any) -> str:
    """What a class is called: a text as it is, a whole number by its digits.

    Args:
        label: a text or a number.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(label, bool | np.bool_):
        return str(bool(label))
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    if isinstance(label, str | int | float | np.integer | np.floating):
        return str(label)
    raise TypeError(Advice(Argument("classes"), f" are texts or numbers, not {type(label).__name__}"))


def names_of_classes(classes: Any, images: Images) -> list[str]:
    """The name of the class of each image.

    Args:
        classes: `(N,)` texts or numbers, in any container; "subfolders" for the folders that images lie in.
        images: of which they are.

    Raises:
        TypeError: a class is no text and no number.
        ValueError: there is not one for each image, one is missing, or an image lies in no sub-folder.
    """
    if isinstance(classes, str):
        if classes != SUBFOLDERS:
            text = f" must be one label for each image, or {SUBFOLDERS!r}, got {classes!r}"
            raise ValueError(Advice(Argument("classes"), text))
        return _folders(images)
    found = listed(classes, "classes")
    if len(found) != len(images):
        raise ValueError(
            Advice(Argument("classes"), f" names {len(found)}, but there are {len(images)} images")
        )
    if lost := [row for row, label in enumerate(found) if is_missing(label)]:
        text = f"{len(lost)} of {len(found)} images have no class, the first is {images.label(lost[0])}"
        raise ValueError(text)
    return [class_name(label) for label in found]


def _folders(images: Images) -> list[str]:
    """The name of the sub-folder that each image lies in, the uppermost."""
    parts = [PurePosixPath(name).parts for name in images.names or ()]
    loose = len(images) if not parts else sum(len(part) < 2 for part in parts)
    if loose:
        text = f"{loose} of {len(images)} images lie in no sub-folder: with "
        raise ValueError(Advice(text, Argument("classes", SUBFOLDERS), " each sub-folder is a class"))
    return [part[0] for part in parts]


def classes_of(names: list[str]) -> Classes:
    """The classes of a fit.

    Args:
        names: of the class of each image.

    Raises:
        ValueError: there is only one, or one has a single image.
    """
    each, codes, counts = np.unique(np.array(names, dtype=object), return_inverse=True, return_counts=True)
    if len(each) < 2:
        text = f"there is one class, {names[0]!r}: leave "
        raise ValueError(Advice(text, Argument("classes"), " out, or give two at least"))
    if (counts < LEAST_IMAGES).any():
        few = str(each[int(np.argmin(counts))])
        raise ValueError(f"class {few!r} has one image: each class needs {LEAST_IMAGES} at least")
    return Classes(tuple(map(str, each)), codes.astype(np.int64).reshape(-1))


def number_of(names: tuple[str, ...], name: str) -> int:
    """The number of a class; raises ValueError where there is none of that name.

    Args:
        names: of all classes.
        name: of one.
    """
    if name not in names:
        known = ", ".join(map(repr, names[:12]))
        raise ValueError(f"there is no class {name!r}: this detector was fitted on {known}")
    return names.index(name)


def with_classes(
    member: Member, classes: Classes, plan: FitPlan, rows: Tensor, kept: Mapping[str, Indices], number: int
) -> Member:
    """The member with a Gaussian for each class, and with the classes of the rows that it keeps.

    Args:
        member: whose model is trained.
        classes: of all normal rows.
        plan: of the fit.
        rows: `(L, ...)` the training rows, those of `kept["training_rows"]`, encoded.
        kept: of which rows those kept are, sorted, by the name under which they are.
        number: of the member.
    """
    model = member.model
    assert isinstance(model, ClassMixture)
    codes = torch.from_numpy(classes.codes)
    device = model.prior.means.device
    model.fit_classes(rows.to(device), codes[torch.from_numpy(kept["training_rows"])])
    labels = {}
    for name, of in kept.items():
        generator = plan.stream(STREAM_OF[name], number)
        some = some_of(of, plan.keep_rows, member.encoder.width, generator)
        if some.size:
            labels[name] = codes[torch.from_numpy(some)]
    return replace(member, labels=labels)


STREAM_OF = {"standard": "reference", "training_rows": "training", "held_out": "held out"}
"""The stream of randomness that chooses the rows that are kept under a name."""


def reference_of_class(member: Member, number: int) -> Reference:
    """A member's model and reference rows as they are for one class.

    Args:
        member: with classes.
        number: of the class.
    """
    model, reference = member.model, member.reference
    assert isinstance(model, ClassMixture)

    def own(name: str, rows: Tensor | None) -> Tensor | None:
        return None if rows is None else rows[member.labels[name] == number]

    return replace(
        reference,
        model=model.of_class(number),
        rows=own("standard", member.standard),
        training_rows=own("training_rows", member.training_rows),
        held_out=own("held_out", member.held_out),
    )
