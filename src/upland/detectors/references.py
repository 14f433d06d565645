"""What the statistics of groups, and criteria, are fitted on: a member as they see it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upland.data.image.encoder import ImageEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.fitting import Member
from upland.groups.outputs import Reference


def reference_of(member: Member) -> Reference:
    """The member's model and the normal rows that are kept with it.

    Args:
        member: as fitted.
    """
    encoder = member.encoder
    columns: NDArray[np.intp] | None = None
    names: tuple[str, ...] = ()
    if isinstance(encoder, TableEncoder):
        columns, names = np.asarray(encoder.slots), encoder.column_names
    return Reference(
        model=member.model,
        sigma=member.sigma,
        rows=member.standard,
        training_rows=member.seen,
        held_out=member.reserve,
        columns=columns,
        column_names=names,
        bin=encoder.bin if isinstance(encoder, ImageEncoder) and encoder.scaling == "levels" else None,
        shape=encoder.shape,
    )
