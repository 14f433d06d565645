"""Labels left in: columns whose names say that they hold which rows are anomalous."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

LABEL = re.compile(
    r"labels?|targets?|class(es)?|anomal(y|ies|ous)|outliers?|faults?|faulty|fail(s|ed|ing|ures?)?|defect(s|ive)?"
    r"|fraud(s|ulent)?|attacks?|malicious|malware|intrusions?|(ab)?normal|abnormality|outcomes?|(ground)?truth"
)
"""Words of a name that make a column of at most two values a label."""

LABEL_NAMES = ("y", "y true", "gt")
"""Names that do so as a whole."""

WEAK = re.compile(
    r"errors?|alarms?|alerts?|flag(s|ged)?|status|warnings?|bad|broken|damaged?|reject(s|ed)?|ok|health(y)?"
    r"|suspicious|suspect|positive|incidents?"
)
"""Words that make a constant column one that may be a label."""

MEASURE = re.compile(
    r"rate|counts?|number|num|no|n|size|duration|time|temp(erature)?|pressure|speed|distance|width|height|length"
    r"|ratio|share|percent|pct|cost|price|amount|age|days?|hours?|minutes?|seconds?|mean|average|avg|sum|total"
    r"|min|max|weight|score|prob(ability)?"
)
"""Last words, or first, of the name of a measure, which is no label whatever else it is of."""

LABEL_VALUES = frozenset([-1.0, 0.0, 1.0, 2.0])
"""Numbers that labels are written with."""


def words_of(name: str) -> list[str]:
    """The words of a column's name, in lower case: `isFraud_2` -> is, fraud."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word.casefold() for word in re.split(r"[\W\d_]+", parted) if word]


def like_label(name: str) -> Literal["label", "flag"] | None:
    """Whether a column's name is that of a label (`label`), or of what may be one (`flag`)."""
    words = words_of(name)
    if len(words) > 1 and any(MEASURE.fullmatch(word) for word in (words[0], words[-1])):
        return None
    bare = [word.removeprefix("is") for word in words]
    if any(map(LABEL.fullmatch, bare)) or " ".join(words) in LABEL_NAMES:
        return "label"
    return "flag" if any(map(WEAK.fullmatch, bare)) else None


def holds_labels(name: str, few: Collection[float]) -> bool:
    """Whether a column of numbers, named like a label, holds what labels are written with.

    Args:
        name: The column's name.
        few: Its distinct values, two at most.
    """
    return len(words_of(name)) == 1 or set(few) <= LABEL_VALUES
