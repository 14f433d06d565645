"""Which partitions a call has to do, by what the manifest says of those before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upland.distributed.manifest import Manifest
from upland.distributed.partitions import Partition, listed
from upland.io.advice import Advice, Wording

_OVERWRITE = Wording("allow it to be overwritten", "say --overwrite")


def missing(
    manifest: Manifest, run: Mapping[str, Any], partitions: Sequence[Partition], overwrite: bool
) -> list[Partition]:
    """The partitions that are to be done; where all are to be done anew, the manifest begins anew.

    Nothing that a user may still need is replaced or deleted unless they say so: files that are there and of
    no run, those of another model or other options, of a partition that has changed, and of one that is gone.

    Args:
        manifest: Of the output, open.
        run: What decides the numbers.
        partitions: All.
        overwrite: Whether files may be replaced.

    Raises:
        FileExistsError: Files would be replaced.
    """
    output = manifest.output
    names = {part.name for part in partitions}
    gone = [name for name in manifest.done if name not in names and (output / name).is_file()]
    another = manifest.run is not None and manifest.run != run
    if another and manifest.done and not overwrite:
        raise _refused(f"{output} holds scores {_difference(manifest.run or {}, run)}")
    if gone and not overwrite:
        raise _refused(f"{output} holds scores of {_counted(gone)} no longer part of the input")
    if manifest.run is None or another:
        foreign = [part.name for part in partitions if (output / part.name).exists()]
        if foreign and not overwrite:
            raise _refused(f"{output} holds {listed(foreign)} already")
        manifest.start(dict(run))
        todo = list(partitions)
    else:
        stale = [(part, why) for part in partitions if (why := _stale(manifest, part))]
        if stale and not overwrite:
            raise _refused(
                f"{output}: {len(stale):,} of {len(partitions):,} partitions are no longer as they were: "
                + listed([f"{part.name} {why}" for part, why in stale])
            )
        again = {part.name for part, _ in stale}
        todo = [part for part in partitions if part.name in again or not _is_done(manifest, part)]
    for name in gone:
        (output / name).unlink()
    return todo


def _stale(manifest: Manifest, part: Partition) -> str:
    """Why the file of a partition may not stay as it is; nothing where it may, or is not there."""
    target = manifest.output / part.name
    record = manifest.done.get(part.name)
    if not target.exists():
        return ""
    if record is None:
        return "" if part.name in manifest.begun else "is there already"
    if not _same(record, part):
        return "has changed since it was scored"
    return "" if target.stat().st_size == record["written"] else "has changed since it was written"


def _is_done(manifest: Manifest, part: Partition) -> bool:
    record = manifest.done.get(part.name)
    return record is not None and _same(record, part) and (manifest.output / part.name).is_file()


def _same(record: Mapping[str, Any], part: Partition) -> bool:
    return {name: record[name] for name in part.stamp()} == part.stamp()


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How two runs differ: `of another model`, `with another alpha`."""
    if before.get("model") != now["model"]:
        return "of another model"
    if before.get("upland") != now["upland"]:
        return f"by upland {before.get('upland')}"
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names == ["partitions"]:
        return "whose flags are of other partitions together"
    words = [f"{name.replace('_', ' ')} {before.get(name)}" for name in names if name != "partitions"]
    return f"made with {', '.join(words)}"


def _counted(names: Sequence[str]) -> str:
    return f"{listed(list(names))}, which {'is' if len(names) == 1 else 'are'}"


def _refused(text: str) -> FileExistsError:
    return FileExistsError(Advice(f"{text}: choose another folder, or ", _OVERWRITE))
