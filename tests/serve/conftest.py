"""Models of every example, in files, and an application that serves them all."""

import pytest

import upland
from estimators import EXAMPLES, EXPERTS
from serving import Client


@pytest.fixture(scope="session")
def fitted():
    """Every example, fitted when it is asked for."""

    class Fitted(dict):
        def __missing__(self, label):
            self[label] = EXAMPLES[label].fit()
            return self[label]

    return Fitted()


@pytest.fixture(scope="session")
def stored(fitted, tmp_path_factory):
    """The path of a model file of an example."""
    folder = tmp_path_factory.mktemp("models")

    def path(label):
        found = folder / f"{label.split(' of ')[-1]}.safetensors"
        if not found.exists():
            upland.save(fitted[label], found)
        return found

    return path


@pytest.fixture(scope="session")
def client(stored):
    """An application with one model of a table with numbers and a category."""
    return Client(stored(EXPERTS))
