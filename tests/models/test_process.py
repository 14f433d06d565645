"""Settings of the whole process are put back, whatever the order in which threads end."""

import threading

import numpy as np
import pytest
import torch

import upland
from upland.criteria.step_experts import StepExperts
from upland.models.process import (
    BLAS_THREADS,
    EXACT,
    PRECISION,
    SHORTENED,
    THREADS,
    ProcessSetting,
    _blas_threads,
    _set_blas_threads,
    _shortened,
)

COUNT = 3


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(COUNT)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("three_threads")
def test_computations_that_overlap_leave_the_number_of_threads():
    first_inside, second_inside, first_done = (threading.Event() for _ in range(3))
    seen = {}

    def first():
        with THREADS.at(1):
            first_inside.set()
            second_inside.wait(10)
        seen["first"] = torch.get_num_threads()
        first_done.set()

    def second():
        first_inside.wait(10)
        with THREADS.at(1):
            second_inside.set()
            first_done.wait(10)
            seen["inside"] = torch.get_num_threads()
        seen["second"] = torch.get_num_threads()

    both = [threading.Thread(target=run) for run in (first, second)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert seen == {"first": COUNT, "second": COUNT, "inside": 1}
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == COUNT


@pytest.mark.usefixtures("three_threads")
def test_scores_in_many_threads_leave_the_number_of_threads():
    rows = np.random.default_rng(0).normal(size=(120, 2))
    detector = upland.EnergyDetector(epochs=1, random_state=0, calibration="split", progress=False).fit(rows)
    left = []

    def score():
        for _ in range(3):
            detector.anomaly_score(rows)
        left.append(torch.get_num_threads())

    threads = [threading.Thread(target=score) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left == [COUNT] * 8
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == COUNT


def test_within_a_computation_nothing_changes():
    writes, setting = [], ["before"]

    def write(value):
        writes.append(value)
        setting[0] = value

    held = ProcessSetting(lambda: setting[0], write, each_thread=True)
    with held.at("inside"), held.at("inside"):
        assert setting == ["inside"]
    assert writes == ["inside", "before"]
    with pytest.raises(RuntimeError), held.at("inside"):
        raise RuntimeError
    assert setting == ["before"]


def test_precision_is_exact_within_and_the_programs_own_after():
    torch.set_float32_matmul_precision("medium")
    try:
        with PRECISION.at(EXACT):
            assert torch.get_float32_matmul_precision() == "highest"
            assert in_a_new_thread(torch.get_float32_matmul_precision) == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("program", ["as PyTorch has it", "off", "set apart"])
def test_convolutions_are_not_shortened_within_and_as_the_program_has_them_after(program):
    cudnn = torch.backends.cudnn
    if program == "set apart" and not hasattr(cudnn, "conv"):
        pytest.skip("this PyTorch has one setting for both")
    try:
        if program == "set apart":
            cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = "tf32", "ieee"
        else:
            cudnn.allow_tf32 = program != "off"
        before = _shortened()
        with SHORTENED.at(False):
            assert cudnn.allow_tf32 is False
            assert in_a_new_thread(_shortened) is False
        assert _shortened() == before
    finally:
        cudnn.allow_tf32 = True


def test_a_detector_computes_with_all_bits(monkeypatch):
    seen = []

    def edges(x):
        seen.append((torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))
        return x

    photos = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
    assert torch.backends.cudnn.allow_tf32
    detector = upland.ImageFlowDetector(features=edges, calibration="split", random_state=0).fit(photos)
    detector.anomaly_score(photos)
    assert set(seen) == {(False, "highest")}
    assert torch.backends.cudnn.allow_tf32


def test_sequences_are_fitted_with_one_thread_of_linear_algebra_and_the_programs_number_is_put_back(
    monkeypatch,
):
    before, seen, fit = _blas_threads(), [], StepExperts.fit
    monkeypatch.setattr(StepExperts, "fit", lambda *given: seen.append(_blas_threads()) or fit(*given))
    _set_blas_threads(2)
    try:
        upland.SequenceEnergyDetector(epochs=1, random_state=0).fit(
            np.random.default_rng(0).normal(size=(300, 2))
        )
        assert set(seen) == {1}
        assert _blas_threads() == 2
        with BLAS_THREADS.at(1):
            assert _blas_threads() == 1
        assert _blas_threads() == 2
    finally:
        _set_blas_threads(before)


def test_libraries_of_linear_algebra_with_different_numbers_of_threads_find_each_its_own():
    before = _blas_threads()
    try:
        _set_blas_threads((1, 2, 1, 2))
        found = _blas_threads()
        with BLAS_THREADS.at(1):
            assert _blas_threads() == 1
        assert _blas_threads() == found
    finally:
        _set_blas_threads(before)
