"""What a program has set changes no number of upland, fails nowhere, and is as it was afterwards."""

import contextlib
import decimal
import functools
import inspect
import locale
import random
import sys
import warnings
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import upland
from estimators import EXAMPLES
from programs import run_python

N_THREADS = torch.get_num_threads()


@contextmanager
def changed(change, to, back):
    change(to)
    try:
        yield
    finally:
        change(back)


def dtype(name):
    return changed(torch.set_default_dtype, getattr(torch, name), torch.float32)


def all_of(*settings):
    """Several settings at once."""

    @contextmanager
    def entered():
        with ExitStack() as stack:
            for setting in settings:
                stack.enter_context(setting())
            yield

    return entered


@contextmanager
def pandas_and_polars():
    with ExitStack() as stack, warnings.catch_warnings(action="ignore"):  # pandas 4 has no infer_string
        stack.enter_context(pd.option_context("mode.string_storage", "python", "future.infer_string", False))
        stack.enter_context(pd.option_context("display.precision", 1, "compute.use_numexpr", False))
        stack.enter_context(pl.Config(float_precision=1, tbl_rows=2))
        yield


@contextmanager
def python():
    """Everything that raises, a foreign language, few frames left, another folder, and seeds."""
    decimals = decimal.Context(prec=2, traps=[decimal.Inexact, decimal.FloatOperation])
    frames = len(inspect.stack(0))
    with ExitStack() as stack, warnings.catch_warnings(action="error"):
        stack.enter_context(decimal.localcontext(decimals))
        stack.enter_context(changed(sys.setrecursionlimit, frames + 300, sys.getrecursionlimit()))
        stack.enter_context(contextlib.chdir("/"))
        stack.callback(locale.setlocale, locale.LC_ALL, locale.setlocale(locale.LC_ALL))
        set_language()
        random.seed(7)
        torch.manual_seed(7)
        np.random.seed(7)  # noqa: NPY002
        yield


def set_language():
    """One that writes 1,5 where this machine has one."""
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C"):
        with suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, name)
            return


DETERMINISTIC = partial(changed, torch.use_deterministic_algorithms, True, False)
MEDIUM = partial(changed, torch.set_float32_matmul_precision, "medium", "highest")
DEVICE = partial(changed, torch.set_default_device, "meta", None)
SETTINGS = {
    "Python": python,
    "NumPy": partial(np.errstate, all="raise"),
    "frames": pandas_and_polars,
    "float64, no gradients": all_of(partial(dtype, "float64"), torch.no_grad, DETERMINISTIC),
    "bfloat16, inference": all_of(partial(dtype, "bfloat16"), torch.inference_mode, MEDIUM),
    "float16, another device": all_of(partial(dtype, "float16"), DEVICE),
    "autocast": all_of(partial(torch.autocast, "cpu", torch.bfloat16), partial(torch.device, "meta")),
    "autocast to float16": partial(torch.autocast, "cpu", torch.float16),
    "threads": partial(changed, torch.set_num_threads, N_THREADS + 1, N_THREADS),
}
"""What a program may have set; settings that do not hide each other stand together."""


def state():
    """The settings and random states of the program."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "random": [hash(random.getstate()), str(np.random.get_state()), torch.initial_seed()],  # noqa: NPY002
        "torch": torch.random.default_generator.get_state().tolist(),
        "floating point": np.geterr(),
        "decimal": str(decimal.getcontext()),
        "locale": locale.setlocale(locale.LC_ALL),
        "recursion": sys.getrecursionlimit(),
        "folder": Path.cwd(),
        "pandas": [pd.get_option(name) for name in ("mode.string_storage", "display.precision")],
    }


def anew(data):
    """Data made under the settings of now."""
    return pd.DataFrame(data.to_dict("list")) if isinstance(data, pd.DataFrame) else data.copy()


def numbers(name, path, groups=True):
    """Every number that an estimator gives, by what it is asked."""
    example = EXAMPLES[name]
    new = anew(example.new)
    detector = example.make().fit(anew(example.rows))
    found = {"losses": np.array([entry["validation"] for entry in detector.history_])}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* calibration (rows|images|sequences)")
        found |= asked(detector, new, groups)
        upland.save(detector, path)
        loaded = upland.load(path)
        found |= {f"loaded: {what}": value for what, value in asked(loaded, new, groups).items()}
        found["calibrated"] = loaded.calibrate(new).p_values(new)
    return found


def asked(detector, new, groups):
    shares = upland.explain(detector, new).shares
    found = {
        "scores": detector.anomaly_score(new),
        "p-values": detector.p_values(new),
        "flags": detector.flag(new, control="fdr"),
        "decisions": detector.decision_function(new),
        "labels": detector.predict(new),
        "shares": np.concatenate([np.ravel(part) for part in shares]),
    }
    if detector.modality == "sequence":
        found["stream"] = streamed(detector, new[new["machine"] == "a"].head(4))
    elif groups:
        verdicts = detector.score_groups(new, np.arange(len(new)) % 2, alpha=0.5)
        found["groups"] = np.array([verdicts.p_value, verdicts.statistic])
    return found


def streamed(detector, steps):
    state, scores = None, []
    for step in steps[["wave", "load", "mode"]].to_dict("records"):
        score, p, state = detector.score_next(state, step)
        scores += [score, p]
    return np.array(scores)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return functools.cache(lambda name: numbers(name, folder / name))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_program_changes_no_number_and_is_left_alone(setting, name, plain, tmp_path):
    expected = plain(name)
    alike = setting != "threads"
    with SETTINGS[setting]():
        before = state()
        found = numbers(name, tmp_path / name, groups=alike)  # on more threads than cores groups take long
        assert state() == before
    for what, value in found.items():
        np.testing.assert_allclose(value, expected[what], rtol=0 if alike else 1e-5, atol=0, err_msg=what)


def test_a_tensor_of_inference_mode_is_scored():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    detector = upland.EnergyDetector(epochs=1, random_state=0, progress=False).fit(rows)
    with torch.inference_mode():
        found = detector.anomaly_score(torch.from_numpy(rows) + 0)
    np.testing.assert_array_equal(found, detector.anomaly_score(rows))


def test_a_precision_that_is_set_for_each_library_is_left_alone(plain):
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        example = EXAMPLES["ImageVAEDetector"]
        found = example.fit().anomaly_score(example.new)
        assert products.fp32_precision == "bf16"
    finally:
        products.fp32_precision = before
    np.testing.assert_array_equal(found, plain("ImageVAEDetector")["scores"])


@pytest.mark.parametrize("made", ["by a function", "beforehand"])
def test_a_module_of_the_users_own_in_float64(made):
    def make(width):
        return torch.nn.Sequential(torch.nn.Linear(width, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

    rows = np.random.default_rng(0).normal(size=(60, 2))
    with dtype("float64"):
        module = make if made == "by a function" else make(2)
        detector = upland.EnergyDetector(model=module, epochs=1, random_state=0, progress=False).fit(rows)
        assert np.isfinite(detector.anomaly_score(rows)).all()


def test_a_program_of_errors_from_the_start():
    code = (
        "import numpy as np; np.seterr(all='raise')\n"
        "import upland\n"
        "everything = [getattr(upland, name) for name in upland.__all__]\n"
        "rows = np.random.default_rng(0).normal(size=(150, 3))\n"
        "detector = upland.FlowDetector(random_state=0, epochs=1, calibration='split', progress=False)\n"
        "print(upland.explain(detector.fit(rows), rows).shares.shape, detector.p_values(rows).shape)"
    )
    done = run_python("-W", "error", "-c", code)
    assert (done.returncode, done.stdout) == (0, "(150, 3) (150,)\n"), done.stderr
