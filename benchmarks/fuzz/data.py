"""Mutated files of data through reading and scoring: no crash, no hang, no memory, no nonsense.

A file of each format is made and spoiled: bits flipped, numbers set to extreme ones, pieces cut out, doubled
or moved, and in text quotes, delimiters and newlines put in. Each is read as a fit reads it, and scored. It
passes if it is refused by a documented error, or if every row of it gets one finite score. Workers run under
a limit of memory and one of time; a worker that dies is a crash of the file that it was at.

    python -m benchmarks.fuzz --data 5000 --seed 0
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.options import HERE

MEMORY = 2 << 30
"""Bytes that a worker may hold at most."""

ADDRESSES = 12 << 30
"""Bytes of addresses, of which mapped libraries take some."""

SECONDS = 120
"""For one file."""

FORMS = ("csv", "csv.gz", "parquet", "arrow", "npy", "npz", "images.npz", "png", "webp", "jpg")
REFUSALS = (ValueError, TypeError, OSError)
EXTREME = (0, 1, -1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62, -(2**63))
WORDS = (
    *(b'"', b'""', b",", b"\n", b"\r\n", b";", b"\t", b"1e308", b"-1e999", b"nan", b"inf", b"\xff", b"\0"),
    *(b"9" * 40, b"=1+1", b"#", b"\xef\xbb\xbf", b"x,z,s\n", b"'", b"\\", b"0x1f", b"1_000", b"1,250"),
)
CELLS = (
    *(b"", b"NA", b"007", b"-0", b"1e308", b"1.5", b"12", b"north", b"true", b'"a"', b'"a ""b"""', b'"a\nb"'),
    *(b" 1", b"1 ", b"0.1e-400", b"9" * 30, b"2026-01-31", b"caf\xc3\xa9", b"=1+1"),
)


GOOD = ("read", "refused")
"""Outcomes that a file may have."""


def run(count: int, seed: int) -> list[dict[str, Any]]:
    """What became of each file: its number, form, outcome, and the memory of the worker.

    Args:
        count: Files in all.
        seed: Of their mutations.
    """
    return [
        {
            "number": number,
            "kind": FORMS[number % len(FORMS)],
            "outcome": found["end"],
            "mib": found.get("megabytes", 0),
            **{name: value for name, value in found.items() if name not in ("end", "megabytes")},
        }
        for number, found in _outcomes(range(count), seed)
    ]


def _outcomes(numbers: Sequence[int], seed: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The outcome of each file, by workers that are replaced when they die."""
    left = list(numbers)
    while left:
        with _worker(seed, left) as worker:
            assert worker.stdout is not None
            for number in list(left):
                ready, _, _ = select.select([worker.stdout], [], [], SECONDS)
                line = worker.stdout.readline() if ready else ""
                left.remove(number)
                if line:
                    yield number, json.loads(line)
                    continue
                worker.kill()
                code = worker.wait()
                yield number, {"end": "crash" if ready else "hang", "error": f"exit {code}"}
                break


def _worker(seed: int, numbers: Sequence[int]) -> subprocess.Popen[str]:
    worker = _started([sys.executable, "-m", "benchmarks.fuzz.data", "--seed", str(seed)])
    assert worker.stdin is not None
    worker.stdin.write(" ".join(map(str, numbers)) + "\n")
    worker.stdin.flush()
    return worker


def _started(command: list[str]) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(HERE.parent), *sys.path])
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
    )  # fmt: skip


# -- in a worker ---------------------------------------------------------------------------------------------


def work(seed: int) -> None:
    """Read numbers of files from standard input; write the outcome of each to standard output."""
    numbers = list(map(int, sys.stdin.readline().split()))
    scorers = _scorers()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            form = FORMS[number % len(FORMS)]
            path = Path(folder) / f"{number}.{form}"
            path.write_bytes(mutant(form, np.random.default_rng([seed, number])))
            print(json.dumps(_outcome(path, form, scorers)), flush=True)
            path.unlink()


def _outcome(path: Path, form: str, scorers: dict[str, Any]) -> dict[str, Any]:
    try:
        end = _tried(path, form, scorers)
    except MemoryError:
        end = {"end": "memory", "error": "MemoryError"}
    except Exception as error:  # noqa: BLE001 - an undocumented error is what is looked for
        end = {"end": "internal", "error": f"{type(error).__name__}: {error}"[:300]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)
    if peak > MEMORY and end["end"] in ("read", "refused"):
        end = {"end": "memory", "error": f"{peak >> 20} MiB"}
    return {**end, "megabytes": peak >> 20}


def _tried(path: Path, form: str, scorers: dict[str, Any]) -> dict[str, Any]:
    from upland.data.table.encoder import TableEncoder
    from upland.io.formats import open_source

    if form in ("csv", "csv.gz", "parquet", "arrow"):
        with suppress(*REFUSALS):
            TableEncoder().fit_batches([open_source(path).read()])
    try:
        scores = scorers["image" if form in ("images.npz", "png", "webp", "jpg") else "table"](path)
    except REFUSALS as error:
        return {"end": "refused", "error": f"{type(error).__name__}: {error}"[:200]}
    if not np.isfinite(scores).all():
        return {"end": "nonsense", "error": "scores that are NaN or infinite"}
    expected = _rows(path, form)
    if expected is not None and len(scores) != expected:
        return {"end": "rows", "error": f"{len(scores)} scores of {expected} rows"}
    return {"end": "read"}


def _rows(path: Path, form: str) -> int | None:
    """Rows of a file, where they can be counted in another way than upland's."""
    if form in ("csv", "csv.gz"):
        data = path.read_bytes() if form == "csv" else gzip.decompress(path.read_bytes())
        lines = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        return None if b'"' in data or b"sep=" in data else sum(bool(line) for line in lines) - 1
    if form == "parquet":
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(path).metadata.num_rows)
    if form in ("npy", "npz", "images.npz"):
        found = np.load(path)
        return len(found if form == "npy" else found[found.files[0]])
    return 1 if form in ("png", "webp", "jpg") else None


def _scorers() -> dict[str, Callable[[Path], Any]]:
    import torch

    from upland import EnergyDetector, ImageEnergyDetector

    torch.set_num_threads(1)
    table, numbers, images = _table(), _numbers(), _images()
    options: dict[str, Any] = {"epochs": 1, "random_state": 0, "progress": False}
    frames = EnergyDetector(**options).fit(table)
    arrays = EnergyDetector(**options).fit(numbers)
    pictures = ImageEnergyDetector(size=(8, 8), mode="grey", **options).fit(images)

    def table_scores(path: Path) -> Any:
        return (arrays if path.suffix in (".npy", ".npz") else frames).anomaly_score(path)

    return {"table": table_scores, "image": pictures.anomaly_score}


# -- files, whole and spoiled --------------------------------------------------------------------------------


def _table() -> Any:
    import pyarrow as pa

    rng = np.random.default_rng(0)
    return pa.table(
        {
            "x": rng.normal(size=80).round(3),
            "z": np.where(rng.random(80) < 0.1, np.nan, rng.normal(size=80).round(3)),
            "s": np.array(["north", "south", "east"])[rng.integers(0, 3, 80)],
            "n": rng.integers(0, 50, 80),
        }
    )


def _numbers() -> Any:
    return np.random.default_rng(1).normal(size=(60, 4))


def _images() -> Any:
    return np.random.default_rng(2).integers(0, 256, (24, 12, 12), dtype=np.uint8)


def whole(form: str, rng: np.random.Generator) -> bytes:
    """A file that is as it must be, of one of the forms."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    packed = str(rng.choice(["none", "zstd", "snappy", "gzip"]))
    if form in ("csv", "csv.gz"):
        rows = [_table().column_names, *zip(*_table().to_pydict().values(), strict=True)]
        sink.write("".join(",".join(map(str, row)) + "\n" for row in rows).encode())
    elif form == "parquet":
        pq.write_table(_table(), sink, compression=packed, row_group_size=int(rng.choice([30, 80])))
    elif form == "arrow":
        options = pa.ipc.IpcWriteOptions(compression=[None, None, "lz4", "zstd"][rng.integers(4)])
        make = pa.ipc.new_file if rng.random() < 0.7 else pa.ipc.new_stream
        table = _table() if rng.random() < 0.5 else _table().set_column(
            2, "s", _table()["s"].dictionary_encode()
        )  # fmt: skip
        with make(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=int(rng.choice([30, 80])))
    elif form in ("npy", "npz", "images.npz"):
        array = _images() if form == "images.npz" else _numbers()
        (np.save if form == "npy" else np.savez_compressed)(sink, array)
    else:
        import PIL.Image

        picture = PIL.Image.fromarray(_images()[0] if rng.random() < 0.5 else np.dstack([*_images()[:3]]))
        picture.save(sink, {"jpg": "JPEG"}.get(form, form.upper()))
    return sink.getvalue()


def _edited(data: bytes, rng: np.random.Generator) -> bytes:
    """Text after some changes that people make: cells set to others; lines lost, doubled, moved; quotes."""
    lines = data.split(b"\n")
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        at, other = map(int, rng.integers(len(lines), size=2))
        change = int(rng.integers(7))
        if change == 0:
            del lines[at]
        elif change == 1:
            lines.insert(other, lines[at])
        elif change == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif change == 3:
            lines[at] = lines[at].replace(b",", b',"', 1)
            lines[other] = lines[other].replace(b",", b',"', 1)
        elif lines[at]:
            cells = lines[at].split(b",")
            cells[rng.integers(len(cells))] = CELLS[rng.integers(len(CELLS))]
            lines[at] = b",".join(cells)
    return b"\n".join(lines)


def mutant(form: str, rng: np.random.Generator) -> bytes:
    """A spoiled file; of what is compressed half the time what is inside."""
    data = whole(form, rng)
    words = form.startswith("csv")
    if words and rng.random() < 0.6:
        data = _edited(data, rng)
        return data if form == "csv" else gzip.compress(data, mtime=0)
    if form == "csv.gz" and rng.random() < 0.6:
        return gzip.compress(_spoiled(data, rng, words), mtime=0)
    if form == "csv.gz":
        return _spoiled(gzip.compress(data, mtime=0), rng, False)
    if form.endswith("npz") and rng.random() < 0.6:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inner = _spoiled(archive.read("arr_0.npy"), rng, False)
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("arr_0.npy", inner)
        return sink.getvalue()
    return _spoiled(data, rng, words)


def _spoiled(data: bytes, rng: np.random.Generator, words: bool) -> bytes:
    """Bytes after one to four changes, two of three near the start or the end, where metadata are."""
    made = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        size = len(made)
        if size < 2:
            break
        near = int(rng.integers(min(size, 200 if rng.random() < 0.5 else 1500)))
        at = int(rng.choice([rng.integers(size), near, size - 1 - near]))
        other, length = int(rng.integers(size)), int(rng.integers(1, 64))
        change = int(rng.integers(13 if words else 7))
        if change == 0:
            made[at] ^= 1 << int(rng.integers(8))
        elif change == 1:
            made[at] = int(rng.choice([0, 1, 127, 128, 255]))
        elif change == 2:
            width = int(rng.choice([2, 4, 8]))
            number = int(EXTREME[rng.integers(len(EXTREME))]) % (1 << 8 * width)
            made[at : at + width] = number.to_bytes(width, "little")
        elif change == 3:
            del made[at : at + length]
        elif change == 4:
            made[at:at] = made[other : other + length]
        elif change == 5 and rng.random() < 0.3:
            del made[at:]
        elif change in (5, 6):
            made[at : at + length] = rng.bytes(length)
        else:
            made[at:at] = WORDS[rng.integers(len(WORDS))]
    return bytes(made) or b"\n"


def main(argv: list[str] | None = None) -> int:
    """Be a worker: read numbers of files from standard input, write what became of each."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    work(parser.parse_args(argv).seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
