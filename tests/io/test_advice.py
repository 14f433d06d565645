"""Messages that name arguments: text like any other in Python, options on the command line."""

import pickle
import warnings

import pytest

from upland.cli.console import in_shell, shown
from upland.io.advice import Advice, Argument, Estimator, Symbol, text_of


@pytest.mark.parametrize(
    ("part", "python", "shell"),
    [
        (Argument("ignore", ["label"]), "ignore=['label']", "--ignore label"),
        (Argument("ignore", ["free note"]), "ignore=['free note']", "--ignore 'free note'"),
        (Argument("ignore", ["a", "b"]), "ignore=['a', 'b']", "--ignore a --ignore b"),
        (Argument("window", 9), "window=9", "--window 9"),
        (Argument("per", "sequence"), "per='sequence'", "--per sequence"),
        (Argument("size", (12, 8)), "size=(12, 8)", "--size 12x8"),
        (Argument("size", (Symbol("H"), Symbol("W"))), "size=(H, W)", "--size HxW"),
        (Argument("keep_rows"), "keep_rows", "--keep-rows"),
        (Argument("n_nets", 4), "n_nets=4", "--nets 4"),
        (Estimator("energy"), "an EnergyDetector", "--model energy"),
        (Estimator("flow"), "a FlowDetector", "--model flow"),
        (Estimator("vae"), "a VAEDetector", "--model vae"),
    ],
)
def test_both_forms_of_a_part(part, python, shell):
    text = Advice("fit with ", part, " instead")
    assert text == f"fit with {python} instead"
    assert text.shown(in_shell) == shown(text) == f"fit with {shell} instead"


def test_an_error_and_a_warning_carry_their_parts():
    text = Advice("leave it out: ", Argument("ignore", ["x"]))
    assert str(ValueError(text)) == "leave it out: ignore=['x']"
    assert text_of(ValueError(text)) is text
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(text, UserWarning, stacklevel=1)
    assert text_of(caught[0].message).shown(in_shell) == "leave it out: --ignore x"


def test_advice_in_advice_keeps_its_parts():
    inner = Advice("say ", Argument("mode", "grey"))
    assert Advice("images differ: ", inner).parts == ("images differ: ", "say ", Argument("mode", "grey"))


@pytest.mark.parametrize(
    "error", [ValueError("plain"), ValueError(), OSError(2, "no such file"), KeyError("k")]
)
def test_other_errors_are_their_own_text(error):
    assert text_of(error) == shown(text_of(error)) == str(error)


def test_an_error_with_advice_goes_to_another_process_and_back():
    error = ValueError(Advice("leave it out: ", Argument("ignore", ["x"])))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
