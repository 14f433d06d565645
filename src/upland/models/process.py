"""Settings of the whole process, put aside while upland computes and put back as they were.

PyTorch has one number of threads and one precision of matrix products for all threads of a program, and the
libraries of linear algebra below NumPy and SciPy have one number of threads. Where
several of them compute at once, the first that begins remembers what was set, and it is set again when the
last one ends, so that the program finds its own settings whatever the order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, local
from typing import Any, Generic, TypeVar

import torch
from threadpoolctl import ThreadpoolController, threadpool_info

from upland.io.locks import in_forks

T = TypeVar("T")


class _Here(local):
    """Whether a thread computes now."""

    inside = False


class ProcessSetting(Generic[T]):
    """A setting of the whole process.

    Args:
        read: returns it.
        write: sets it.
        each_thread: whether a thread also has a value of its own, which is put back when that thread ends.
    """

    def __init__(self, read: Callable[[], T], write: Callable[[T], object], each_thread: bool) -> None:
        self._read, self._write, self._each_thread = read, write, each_thread
        self._lock, self._here = Lock(), _Here()
        self._before: list[T] = []  # of each thread that computes now, the first one's first
        in_forks(self._forked)

    def _forked(self) -> None:
        """The other threads are gone, and the program's own value holds."""
        before, inside, self._lock = self._before, self._here.inside, Lock()
        self._before = before[:1] if inside else []
        if before and not inside:
            self._write(before[0])

    @contextmanager
    def at(self, value: T) -> Iterator[None]:
        """Compute with a value of it; within such a computation of the same thread nothing changes.

        Args:
            value: to compute with, the same for all threads.
        """
        if self._here.inside:
            yield
            return
        with self._lock:
            found = self._read()
            first = self._before[0] if self._before and found == value else found
            self._before.append(first)
            self._here.inside = True
            if found != value:
                self._write(value)
        try:
            yield
        finally:
            with self._lock:
                self._here.inside = False
                self._before.remove(first)
                if first != value and (self._each_thread or not self._before):
                    self._write(first)


THREADS = ProcessSetting(torch.get_num_threads, torch.set_num_threads, each_thread=True)


def _blas_threads() -> int | tuple[int, ...]:
    """The number of threads of the libraries of linear algebra; of each, where they differ."""
    counts = tuple(found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas")
    return counts if len(set(counts)) > 1 else max(counts, default=1)


def _set_blas_threads(counts: int | tuple[int, ...]) -> None:
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    each = (counts,) * len(libraries) if isinstance(counts, int) else counts
    for library, count in zip(libraries, each, strict=False):
        library.set_num_threads(count)


BLAS_THREADS: ProcessSetting[int | tuple[int, ...]] = ProcessSetting(
    _blas_threads, _set_blas_threads, each_thread=False
)
"""Products of small matrices are no faster by several threads, and where another process has a core, threads
that wait for each other make them many times slower. To read and set it takes some milliseconds."""


def _precision() -> tuple[str, ...]:
    """PyTorch's precision of products of float32 matrices; of each library, where they are set apart."""
    try:
        return (torch.get_float32_matmul_precision(),)
    except RuntimeError:
        backends: Any = torch.backends
        return (backends.cuda.matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision)


def _set_precision(values: tuple[str, ...]) -> None:
    if len(values) == 1:
        torch.set_float32_matmul_precision(values[0])
    else:
        backends: Any = torch.backends
        backends.cuda.matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision = values


EXACT = ("highest",)
PRECISION = ProcessSetting(_precision, _set_precision, each_thread=False)


def _shortened() -> bool | tuple[str, str]:
    """Whether cuDNN may shorten float32 to TF32 in convolutions and recurrent layers; the precision of each,
    where they are set apart.
    """
    cudnn: Any = torch.backends.cudnn
    try:
        return bool(cudnn.allow_tf32)
    except RuntimeError:
        return (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision)


def _set_shortened(value: bool | tuple[str, str]) -> None:
    cudnn: Any = torch.backends.cudnn
    if isinstance(value, bool):
        cudnn.allow_tf32 = value
    else:
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = value


SHORTENED: ProcessSetting[bool | tuple[str, str]] = ProcessSetting(
    _shortened, _set_shortened, each_thread=False
)
"""On a GPU convolutions and recurrent layers have ten bits of precision, unless this is False; products of
matrices have a setting of their own."""
