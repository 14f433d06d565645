"""A lock on an output while it is made: of two runs that would write one file, one at a time does.

It is a lock of the operating system on a hidden file beside the output, which ends with the process that has
it, however that ends; the file is deleted with the lock, and one that a killed process has left stops nobody.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from upland.io.replace import PRIVATE, alone, followed, has_locks


class WriterLock:
    """The lock of one output.

    Args:
        path: The file or folder to write; what is locked is its name, whether it exists or not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: tuple[int, Path] | None = None

    def take(self) -> bool:
        """Take the lock; False where another process has it.

        True also where the file system has no locks or nothing can be written there, which the writing itself
        then says.
        """
        try:
            target = followed(self._path)
            if not has_locks() or not target.parent.is_dir() or target.is_fifo() or target.is_char_device():
                return True
            known = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
            file = target.absolute().with_name(f".{target.name[:50]}.{known}.lock")
            self._taken = alone(file, PRIVATE, self._path), file
        except FileExistsError:
            return False
        except OSError:
            return True
        return True

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        if self._taken is not None:
            descriptor, file = self._taken
            self._taken = None
            with suppress(OSError):
                file.unlink()
            os.close(descriptor)
