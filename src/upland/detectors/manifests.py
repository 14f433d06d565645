"""What the manifest of a stored detector is made of: which of its fields are records, lists and texts.

It is checked before any field is read. What is inside them is checked by those who read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upland.io.records import shown

_ARCHITECTURE = {"name": str}
_SCHEMA: dict[str, Any] = {"columns": [{}]}
_ENCODERS: dict[str, Any] = {
    "table": {"schema": _SCHEMA},
    "sequence": {"table": {"schema": _SCHEMA}},
    "image": {},
}
_PLAN = {"modality": str, "reader": {}, "architecture": _ARCHITECTURE, "criteria": {}, "training": {}}
_MEMBER = {"architecture": _ARCHITECTURE, "criteria": [[str]], "history": {}}
_MANIFEST: dict[str, Any] = {
    "detector": str,
    "arguments": {},
    "calibrated": [str],
    "offset": float,
    "rows": int,
    "plan": _PLAN,
    "members": [{}],
}
_LATER: dict[str, Any] = {"blocks": {"length": int, "resolved": bool}, "segments": {}, "alpha": float}
"""What is not in every file."""


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest whose fields are of other types than those that are written.

    Args:
        manifest: plain data.

    Raises:
        ValueError: a field is lacking or of another type; it is named.
    """
    later = {name: shape for name, shape in _LATER.items() if name in manifest}
    _check(manifest, _MANIFEST | later, "the manifest")
    modality, members = manifest["plan"]["modality"], manifest["members"]
    if modality not in _ENCODERS:
        raise ValueError(f"there are no data {shown(modality)}")
    if not members:
        raise ValueError("there are no members")
    for number, member in enumerate(members):
        _check(member, _MEMBER | {"encoder": _ENCODERS[modality]}, f"members[{number}]")


def _check(value: Any, shape: Any, where: str) -> None:
    """Compare a value with its type: a type, a list of one, or what the fields of a record are at least."""
    made = dict if isinstance(shape, dict) else list if isinstance(shape, list) else shape
    if not isinstance(value, made) or (made is int and isinstance(value, bool)):
        raise ValueError(f"{where} cannot be {shown(value)}")
    if isinstance(shape, dict):
        for name, inner in shape.items():
            if name not in value:
                raise ValueError(f"{where} has no {name}")
            _check(value[name], inner, name if where == "the manifest" else f"{where}.{name}")
    elif isinstance(shape, list):
        for number, inner in enumerate(value):
            _check(inner, shape[0], f"{where}[{number}]")
