"""Model files that differ from sound ones: damaged, or forged with a digest that is right.

A mutation is a function of a random generator and of a sound file. Of a forged file the digest is computed
again, so that the file gets past it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load, save

from upland.io import modelfile

KEY = "upland"
Tensors = dict[str, np.ndarray[Any, Any]]
Random = np.random.Generator


class Sound(NamedTuple):
    """A model file that upland wrote, and rows of its data.

    Args:
        name: of the example.
        data: the bytes of the file.
        rows: what the detector scores, the last of them a gross outlier.
        assessment: what the detector of the sound file says of them.
    """

    name: str
    data: bytes
    rows: Any
    assessment: Any

    def parts(self) -> tuple[Tensors, dict[str, Any]]:
        """Copies of the tensors and the manifest."""
        length = int.from_bytes(self.data[:8], "little")
        header = json.loads(self.data[8 : 8 + length])
        tensors = {name: value.copy() for name, value in load(self.data).items()}
        return tensors, json.loads(header["__metadata__"][KEY])["manifest"]


def forged(tensors: Tensors, text: str) -> bytes:
    """A file of tensors and the text of a manifest, with the digest that belongs to them."""
    head = f'"format":{modelfile.FORMAT},"manifest":{text}'
    try:
        digest = modelfile._digest(json.loads(f"{{{head}}}"), tensors)
    except (ValueError, RecursionError):
        digest = "0" * 64
    return save(tensors, metadata={KEY: f'{{{head},"sha256":"{digest}"}}'})


def remade(tensors: Tensors, manifest: dict[str, Any], shapes: bool = True) -> bytes:
    """The same of plain data; the shapes in the manifest are those of the tensors."""
    if shapes:
        manifest["tensors"] = {name: [value.dtype.name, list(value.shape)] for name, value in tensors.items()}
    return forged(tensors, json.dumps(manifest, sort_keys=True, separators=(",", ":")))


# -- damaged: the digest is no longer right ------------------------------------------------------------------


def flipped(random: Random, sound: Sound, _: list[Sound]) -> bytes:
    """Some bytes are others."""
    data = np.frombuffer(sound.data, np.uint8).copy()
    at = random.integers(len(data), size=random.integers(1, 9))
    data[at] ^= random.integers(1, 256, size=at.size).astype(np.uint8)
    return data.tobytes()


def truncated(random: Random, sound: Sound, _: list[Sound]) -> bytes:
    """The end is lacking, or there is more of it."""
    end = int(random.integers(len(sound.data)))
    return sound.data[:end] if random.random() < 0.7 else sound.data + sound.data[end:]


def spliced(random: Random, sound: Sound, others: list[Sound]) -> bytes:
    """A stretch is that of another file."""
    other = others[random.integers(len(others))].data
    size = int(random.integers(1, min(len(sound.data), len(other)) // 2))
    start, there = int(random.integers(len(sound.data) - size)), int(random.integers(len(other) - size))
    return sound.data[:start] + other[there : there + size] + sound.data[start + size :]


def other_length(random: Random, sound: Sound, _: list[Sound]) -> bytes:
    """The number that says how long the header is."""
    length = int.from_bytes(sound.data[:8], "little") + int(random.integers(-64, 64))
    length = int(random.choice([length, 0, 1, 2**31, 2**40, 2**62])) if random.random() < 0.5 else length
    return max(length, 0).to_bytes(8, "little") + sound.data[8:]


# -- forged: plain data --------------------------------------------------------------------------------------

SCALARS: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        7,
        100,
        1_000,
        30_000,
        10**7,
        10**9,
        2**31,
        2**63 - 1,
        2**64,
        10**30,
    ),
    *(0.5, -0.5, 1e-320, 1e-30, 1e30, 1e308, -1e308, 0.0, 1.0),
    *("", "word", "auto", "x" * 3_000, "\x1b[31m", "\ud800", "__class__", "own module", "../../etc/passwd"),
]


def any_value(random: Random) -> Any:
    """A value that may stand anywhere."""
    if random.random() < 0.8:
        return SCALARS[random.integers(len(SCALARS))]
    shapes: list[Callable[[], Any]] = [
        lambda: [],
        lambda: {},
        lambda: {"a": 1},
        lambda: [1] * int(random.choice([1, 3, 200, 20_000])),
        lambda: [int(random.choice([1, 30_000, 10**9]))] * 2,
        lambda: deep(int(random.choice([3, 30, 400]))),
        lambda: ["word", "word"],
    ]
    return shapes[random.integers(len(shapes))]()


def deep(levels: int) -> Any:
    """Lists in each other."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested plain data; of long lists the first few, of deep ones those at the top."""
    found = [path] if path else []
    if len(path) > 60:
        return found
    if isinstance(value, dict):
        return found + [place for key in value for place in places(value[key], (*path, key))]
    if isinstance(value, list):
        return found + [place for n, part in enumerate(value[:6]) for place in places(part, (*path, n))]
    return found


def edited_leaf(random: Random, sound: Sound, _: list[Sound]) -> bytes:
    """One to three places of the manifest hold something else, or nothing."""
    tensors, manifest = sound.parts()
    shapes = manifest.pop("tensors")
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        every = places(manifest)
        if every:
            edit(random, manifest, every[random.integers(len(every))], every)
    return remade(tensors, manifest | {"tensors": shapes}, shapes=bool(random.random() < 0.9))


def edit(random: Random, manifest: Any, place: tuple[Any, ...], every: list[tuple[Any, ...]]) -> None:
    """Change one place."""
    at = manifest
    for key in place[:-1]:
        at = at[key]
    key, how = place[-1], random.random()
    if how < 0.1:
        del at[key]
    elif how < 0.2 and isinstance(at, dict):
        at[str(random.choice(["a", "name", "format", "model", "__init__", "fit"]))] = at[key]
    elif how < 0.35:
        other = manifest
        for step in every[random.integers(len(every))]:
            other = other[step]
        at[key] = json.loads(json.dumps(other))
    elif how < 0.5 and isinstance(at[key], int | float) and not isinstance(at[key], bool):
        at[key] = at[key] * [-1, 2, 0.5, 10, 1e6][random.integers(5)]
    elif how < 0.6 and isinstance(at[key], list):
        times = int(random.choice([2, 10, 1_000]))
        at[key] = at[key] * min(times, 100_000 // max(1, len(json.dumps(at[key])))) or [1]
    else:
        at[key] = any_value(random)


def edited_sizes(random: Random, sound: Sound, _: list[Sound]) -> bytes:
    """The plan and the members ask for another, often a huge, model."""
    tensors, manifest = sound.parts()
    plans = [manifest["plan"]["architecture"], *(member["architecture"] for member in manifest["members"])]
    size = random.choice([0, 1, 2, 3, 16, 8_001, 30_000, 10**5, 10**7, 10**9, 2**40, 2**62])
    for name in random.choice(sorted(plans[0].keys() - {"name"}), size=random.integers(1, 3)):
        now = plans[-1][name]
        if isinstance(now, list):
            many = int(random.choice([1, 2, 100, 20_000]))
            new: Any = [int(size)] * (many if size <= 16 else min(many, 2))
        else:
            new = float(size) if isinstance(now, float) else now if isinstance(now, str) else int(size)
        for plan in plans:
            plan[name] = new
    return remade(tensors, manifest)


def edited_encoder(random: Random, sound: Sound, _: list[Sound]) -> bytes:
    """The encoder of every member asks for other sides, columns or levels."""
    tensors, manifest = sound.parts()
    size = int(random.choice([1, 2, 8, 9, 100, 8_000, 10**5, 10**7, 2**31, 2**62]))
    for member in manifest["members"]:
        encoder = member["encoder"]
        if "shape" in encoder:
            encoder["shape"][random.integers(2)] = size
            encoder["size"] = encoder["shape"][:2] if random.random() < 0.5 else None
        else:
            columns = encoder.get("table", encoder)["schema"]["columns"]
            columns += [
                {**columns[0], "name": f"new{n}"}
                for n in range(min(size, 3_000) if random.random() < 0.5 else 1)
            ]
            columns[0]["levels"] = (
                None if random.random() < 0.5 else [f"l{n}" for n in range(min(size, 3_000))]
            )
    return remade(tensors, manifest)


def other_text(random: Random, sound: Sound, _: list[Sound]) -> bytes:
    """JSON that Python reads, or fails to read, in a way of its own."""
    tensors, manifest = sound.parts()
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    inserts = ["NaN", "Infinity", "-Infinity", "1e999", "1" * 5_000, "1" * 50, "[" * 990 + "]" * 990, "tru"]
    inserts += [
        "[" * 100_000 + "]" * 100_000,
        '{"a":1,"a":2}',
        "[" + "[]," * 200_000 + "1]",
        "[" + "1," * 10**6 + "1]",
    ]
    new = inserts[random.integers(len(inserts))]
    numbers = [place for place in range(1, len(text)) if text[place - 1] in ":," and text[place].isdigit()]
    start = numbers[random.integers(len(numbers))]
    end = start
    while text[end] not in ",]}":
        end += 1
    return forged(tensors, text[:start] + new + text[end:])


# -- forged: tensors -----------------------------------------------------------------------------------------

NUMBERS = [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e30, 1e10, 0.0, -1.0, 1e-300, 1e-40]


def edited_values(random: Random, sound: Sound, _: list[Sound]) -> bytes:
    """One to three tensors of another value: one number of it, all, their order or their sign."""
    tensors, manifest = sound.parts()
    with np.errstate(all="ignore"):
        for name in random.choice(sorted(tensors), size=random.integers(1, 4)):
            flat = tensors[name].reshape(-1)
            if not flat.size:
                continue
            how, number = random.random(), NUMBERS[random.integers(len(NUMBERS))]
            if flat.dtype.kind not in "f":
                number = random.choice([-1, 0, 1, 2**31, -(2**62), 10**9])
            if how < 0.4:
                flat[random.integers(flat.size)] = np.asarray(number).astype(flat.dtype)
            elif how < 0.65:
                flat[:] = np.asarray(number).astype(flat.dtype)
            elif how < 0.75:
                flat[:] = np.sort(flat)[:: int(random.choice([-1, 1]))]
            elif how < 0.85:
                flat *= np.asarray(-1).astype(flat.dtype)
            else:
                flat[:] = (flat * 10.0 ** random.integers(-3, 12)).astype(flat.dtype)
    return remade(tensors, manifest)


def edited_tensors(random: Random, sound: Sound, others: list[Sound]) -> bytes:
    """A tensor of another type or shape, none, one more, two exchanged, one of another file."""
    tensors, manifest = sound.parts()
    names = sorted(tensors)
    name, other = str(random.choice(names)), str(random.choice(names))
    value = tensors[name]
    grown = np.repeat(np.atleast_1d(value), int(random.choice([2, 3, 1_000])), axis=0)
    dtype = str(random.choice(["f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", "?"]))
    foreign = others[random.integers(len(others))].parts()[0]
    with np.errstate(all="ignore"):
        ways: list[Callable[[], dict[str, Any]]] = [
            lambda: tensors | {name: value.astype(dtype)},
            lambda: tensors | {name: value.reshape(-1)},
            lambda: tensors | {name: np.ascontiguousarray(value.T)},
            lambda: tensors | {name: np.atleast_1d(value)[:-1]},
            lambda: tensors | {name: np.atleast_1d(value)[:0]},
            lambda: tensors | {name: grown if grown.nbytes < 1 << 22 else value},
            lambda: tensors | {name: value[None]},
            lambda: tensors | {name: tensors[other], other: value},
            lambda: {k: v for k, v in tensors.items() if k != name},
            lambda: tensors | {f"{name}x": value},
            lambda: tensors | {f"{random.integers(9)}/rows/held_out": value},
            lambda: tensors | {name: np.zeros((0, 10**9), value.dtype)},
            lambda: tensors | {name: foreign.get(name, value)},
        ]
        changed = ways[random.integers(len(ways))]()
    return remade(changed, manifest, shapes=bool(random.random() < 0.9))


def mixed(random: Random, sound: Sound, others: list[Sound]) -> bytes:
    """The manifest of one file, or a part of it, with the tensors of another."""
    tensors, manifest = sound.parts()
    there, other = others[random.integers(len(others))].parts()
    if random.random() < 0.3:
        return remade(there, manifest)
    key = str(random.choice(sorted(manifest.keys() - {"tensors"})))
    manifest[key] = other.get(key)
    return remade(tensors if random.random() < 0.7 else tensors | there, manifest)


MUTATIONS: dict[str, tuple[float, Callable[[Random, Sound, list[Sound]], bytes]]] = {
    "bytes flipped": (0.08, flipped),
    "truncated or longer": (0.05, truncated),
    "spliced": (0.04, spliced),
    "length of the header": (0.03, other_length),
    "manifest edited": (0.3, edited_leaf),
    "sizes of the model": (0.08, edited_sizes),
    "sizes of the encoder": (0.05, edited_encoder),
    "text of the manifest": (0.05, other_text),
    "values of tensors": (0.18, edited_values),
    "tensors": (0.1, edited_tensors),
    "parts of other files": (0.04, mixed),
}
"""The mutations and their shares."""


def mutated(seed: int, number: int, sounds: list[Sound]) -> tuple[str, Sound, bytes]:
    """The mutation of this number: its name, the sound file and the bytes."""
    random = np.random.default_rng([seed, number])
    shares = np.array([share for share, _ in MUTATIONS.values()])
    kind = list(MUTATIONS)[random.choice(len(shares), p=shares / shares.sum())]
    sound = sounds[random.integers(len(sounds))]
    return kind, sound, MUTATIONS[kind][1](random, sound, sounds)
