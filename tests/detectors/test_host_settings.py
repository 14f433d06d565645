"""What the host program has set changes no number of upland, fails nowhere, and is as it was afterwards."""

import copy
import decimal
import functools
import locale
import os
import random
import sys
import warnings
from contextlib import ExitStack, contextmanager

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import upland
from estimators import EXAMPLES
from upland.data.sequence.container import Sequences

N_THREADS = torch.get_num_threads()


@contextmanager
def changed(change, back):
    change()
    try:
        yield
    finally:
        back()


def default_dtype(dtype):
    return changed(lambda: torch.set_default_dtype(dtype), lambda: torch.set_default_dtype(torch.float32))


def default_device(device):
    return changed(lambda: torch.set_default_device(device), lambda: torch.set_default_device(None))


def threads(count):
    return changed(lambda: torch.set_num_threads(count), lambda: torch.set_num_threads(N_THREADS))


def deterministic():
    use = torch.use_deterministic_algorithms
    return changed(lambda: use(True), lambda: use(False))


def precision(level):
    use = torch.set_float32_matmul_precision
    return changed(lambda: use(level), lambda: use("highest"))


@contextmanager
def usual_settings():
    """What programs set that is no reason for other numbers, all at once."""
    cwd, before, language = os.getcwd(), sys.getrecursionlimit(), locale.setlocale(locale.LC_ALL)
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(np.errstate(all="raise"))
        enter(np.printoptions(precision=1))
        enter(warnings.catch_warnings())
        warnings.simplefilter("error")
        enter(decimal.localcontext(decimal.Context(prec=2, traps=[decimal.Inexact, decimal.FloatOperation])))
        enter(deterministic())
        enter(torch.autograd.set_multithreading_enabled(False))
        enter(pd.option_context("display.precision", 1, "display.max_rows", 2))
        enter(pd.option_context("mode.string_storage", "python", "compute.use_numexpr", False))
        enter(pl.Config(float_precision=1, tbl_rows=2))
        torch.set_printoptions(precision=1)
        stack.callback(torch.set_printoptions, profile="default")
        os.chdir("/")
        stack.callback(os.chdir, cwd)
        random.seed(7), torch.manual_seed(7), np.random.seed(7)  # noqa: NPY002
        sys.setrecursionlimit(400 + depth())
        stack.callback(sys.setrecursionlimit, before)
        for name in ("de_DE.UTF-8", "C.UTF-8", "C"):
            try:
                locale.setlocale(locale.LC_ALL, name)
                break
            except locale.Error:
                continue
        stack.callback(locale.setlocale, locale.LC_ALL, language)
        yield


def depth():
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


SETTINGS = {
    "usual settings": usual_settings,
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "another device": lambda: default_device("meta"),
    "device context": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast to bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "medium precision": lambda: precision("medium"),
    "threads": lambda: threads(N_THREADS + 1),
}


def state():
    """The settings and random states of the program."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
        torch.random.get_rng_state().tolist(),
        random.getstate(),
        str(np.random.get_state()),  # noqa: NPY002
        np.geterr(),
        str(decimal.getcontext()),
        locale.setlocale(locale.LC_ALL),
        sys.getrecursionlimit(),
        os.getcwd(),
        [pd.get_option(name) for name in ("mode.string_storage", "display.precision")],
    )


def numbers(name, folder):
    """Every number that an estimator gives, by what it is asked."""
    example = EXAMPLES[name]
    rows, new = example.rows, example.new
    detector = example.fit()
    history = detector.history_
    found = {"losses": np.array([entry["validation"] for entry in history])}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(?!torch|numpy|pandas)")
        found |= asked(detector, new)
        path = folder / f"{name}.safetensors"
        upland.save(detector, path)
        loaded = upland.load(path)
        found |= {f"loaded: {what}": value for what, value in asked(loaded, new).items()}
        found["again"] = copy.deepcopy(loaded).calibrate(new).p_values(new)
        if detector.modality == "sequence":
            frame, state, scores = new[new.machine == "a"], None, []
            for _, step in frame[:5].iterrows():
                score, p, state = detector.score_next(state, dict(step[["wave", "load", "mode"]]))
                scores += [score, p]
            found["stream"] = np.array(scores)
    return found


def asked(detector, new):
    shares = upland.explain(detector, new).shares
    found = {
        "scores": detector.anomaly_score(new),
        "p-values": detector.p_values(new),
        "flags": detector.flag(new, control="fdr"),
        "decisions": detector.decision_function(new),
        "labels": detector.predict(new),
        "shares": np.concatenate([np.ravel(part) for part in shares]),
    }
    if detector.modality != "sequence":
        verdicts = detector.score_groups(new, np.arange(len(new)) % 2, alpha=0.5)
        found["groups"] = np.array([verdicts.p_value, verdicts.statistic])
    return found


@functools.cache
def plain(name):
    import pathlib
    import tempfile

    return numbers(name, pathlib.Path(tempfile.mkdtemp()))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_host_changes_no_number(setting, name, tmp_path):
    expected = plain(name)
    with SETTINGS[setting]():
        before = state()
        found = numbers(name, tmp_path)
        after = state()
    assert after == before
    for what, value in expected.items():
        np.testing.assert_allclose(
            found[what], value, rtol=1e-5 if setting == "threads" else 0, atol=0, err_msg=what
        )
