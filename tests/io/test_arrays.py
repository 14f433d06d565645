"""Files of arrays: one array is taken, nothing is unpickled, and no header is believed."""

import numpy as np
import pytest

from upland.data.image.encoder import as_images

GREY = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)


def test_array_files_with_no_choice_objects_or_damage_are_refused(tmp_path):
    np.savez(tmp_path / "parts.npz", train=GREY[None], test=GREY[None])
    with pytest.raises(
        ValueError, match=r"parts.npz must hold one array, or one called images, X, x; it holds train, test"
    ):
        as_images(tmp_path / "parts.npz")
    np.save(tmp_path / "objects.npy", np.array([GREY, "a"], dtype=object))
    np.savez(tmp_path / "objects.npz", np.array([GREY, "a"], dtype=object))
    for name in ("poor.npy", "poor.npz"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    for name in ("objects.npy", "objects.npz", "poor.npy", "poor.npz"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as arrays of numbers"):
            as_images(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"absent.npz"):
        as_images(tmp_path / "absent.npz")
