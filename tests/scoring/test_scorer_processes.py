"""A `Scorer` in threads, in pickles and in other processes: the model is loaded once, and scores are equal to
the last bit.
"""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import upland
from estimators import EXAMPLES
from programs import run_python
from scorers import ARRAY, ARRAYS, NAMES, STEPS, as_pandas, file_of, frame_of, modality, png, scorer_of
from upland import persistence
from upland.io.modelfile import TensorFileError
from upland.scoring import loaded

THREADS = 8


def data_of(name):
    """New data of every model; images as files in bytes."""
    if modality(name) == "image":
        return pa.table({"image": list(map(png, EXAMPLES[name].new))})
    return {"wave": ARRAYS[:6]} if name in (ARRAY, STEPS) else frame_of(name)


def bits(found):
    return [np.asarray(found[name]).tobytes() for name in ("anomaly_score", "p_value", "is_anomaly")]


def copies(scorer):
    return [pickle.loads(pickle.dumps(scorer)), cloudpickle.loads(cloudpickle.dumps(scorer))]


@pytest.fixture
def loads(monkeypatch):
    """The files that are loaded, in a process that has loaded none."""
    found, load = [], persistence.load_bytes
    monkeypatch.setattr(loaded.OF_THIS_PROCESS, "_found", type(loaded.OF_THIS_PROCESS._found)())
    monkeypatch.setattr(persistence, "load_bytes", lambda *given: found.append(given[1]) or load(*given))
    return found


# -- threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_threads_score_as_one_while_another_thread_fits_and_loads(name):
    scorer, data = scorer_of(name, explain=1), data_of(name)
    whole = bits(scorer(data))
    done = threading.Event()

    def others():
        rounds = 0
        while not done.is_set() or rounds < 1:
            EXAMPLES[name].fit() if name in EXAMPLES else upland.load(file_of(name))
            upland.load(file_of(name))
            rounds += 1

    with ThreadPoolExecutor(THREADS + 1) as pool:
        busy = pool.submit(others)
        found = [bits(each) for each in pool.map(scorer, [data] * 2 * THREADS)]
        done.set()
        busy.result()
    assert found == [whole] * 2 * THREADS


def test_threads_that_ask_at_once_load_a_model_once(loads):
    scorer = scorer_of("FlowDetector")
    loaded.OF_THIS_PROCESS._found.clear()
    loads.clear()
    together = threading.Barrier(THREADS)

    def first_score(_):
        together.wait()
        return bits(scorer(frame_of("FlowDetector")))

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(first_score, range(THREADS)))
    assert found == found[:1] * THREADS
    assert len(loads) == 1


def test_a_model_is_loaded_once_however_many_scorers_there_are(loads, tmp_path):
    (tmp_path / "copy").write_bytes(file_of("VAEDetector").read_bytes())
    scorers = [
        scorer_of("VAEDetector"),
        scorer_of("VAEDetector", alpha=0.2),
        upland.Scorer(tmp_path / "copy"),
    ]
    for scorer in (*scorers, *copies(scorers[0])):
        scorer(frame_of("VAEDetector"))
        assert scorer.detector is scorers[0].detector
        assert scorer.digest == scorers[0].digest
    assert len(loads) == 1


def test_a_process_keeps_few_models_and_loads_again_what_it_let_go(loads, monkeypatch):
    monkeypatch.setattr(loaded, "MOST", 2)
    names = ["EnergyDetector", "FlowDetector", "VAEDetector"]
    scorers = [scorer_of(name) for name in names]
    assert len(loaded.OF_THIS_PROCESS._found) == 2
    assert len(loads) == 3
    scores = [bits(scorer(frame_of(name))) for name, scorer in zip(names, scorers, strict=True)]
    assert len(loads) == 6
    assert [bits(upland.Scorer(file_of(name))(frame_of(name))) for name in names] == scores


# -- pickles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_scores_alike_where_the_file_is_gone(name, tmp_path, loads):
    path = tmp_path / "m.safetensors"
    path.write_bytes(file_of(name).read_bytes())
    scorer = upland.Scorer(path, alpha=0.2, explain=2)
    wanted = as_pandas(scorer(data_of(name))) if name not in (ARRAY, STEPS) else bits(scorer(data_of(name)))
    made = copies(scorer)
    path.unlink()
    loaded.OF_THIS_PROCESS._found.clear()
    for copied in made:
        assert repr(copied) == repr(scorer)
        found = copied(data_of(name))
        if name in (ARRAY, STEPS):
            assert bits(found) == wanted
        else:
            pd.testing.assert_frame_equal(as_pandas(found), wanted)


def test_a_pickle_holds_the_bytes_of_the_file_and_little_else():
    scorer = scorer_of("EnergyDetector")
    scorer(frame_of("EnergyDetector"))
    assert len(pickle.dumps(scorer)) < file_of("EnergyDetector").stat().st_size + 1_000


def test_a_scorer_stays_with_the_file_that_it_read(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(file_of("EnergyDetector").read_bytes())
    scorer = upland.Scorer(path)
    before = bits(scorer(frame_of("EnergyDetector")))
    path.write_bytes(file_of("VAEDetector").read_bytes())
    assert bits(scorer(frame_of("EnergyDetector"))) == before
    assert upland.Scorer(path).digest != scorer.digest
    assert bits(upland.Scorer(path)(frame_of("EnergyDetector"))) != before


def test_bytes_of_a_pickle_that_were_damaged_are_refused(loads):
    scorer = copies(scorer_of("EnergyDetector"))[0]
    loaded.OF_THIS_PROCESS._found.clear()
    scorer._data = scorer._data[:-100]
    with pytest.raises(TensorFileError, match="is truncated: at least 100 of its bytes"):
        scorer(frame_of("EnergyDetector"))


def test_dask_names_scorers_by_what_they_do():
    from dask.base import tokenize

    first = scorer_of("EnergyDetector")
    assert tokenize(first) == tokenize(copies(first)[0])
    others = [
        scorer_of("EnergyDetector", alpha=0.2),
        scorer_of("EnergyDetector", explain=1),
        scorer_of("VAEDetector"),
        scorer_of("EnergyDetector", groups="lot"),
    ]
    assert len({tokenize(scorer) for scorer in (first, *others)}) == 5


# -- processes -----------------------------------------------------------------------------------------------


PROCESSES = """
import multiprocessing, pickle, sys
from pathlib import Path
import pandas as pd
import upland

def main():
    folder = Path(sys.argv[1])
    rows = pd.read_parquet(folder / "rows.parquet")
    scorer = upland.Scorer(folder / "m.safetensors", explain=1)
    (folder / "m.safetensors").unlink()
    here = scorer(rows)
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(2 if method == "fork" else 1) as pool:
            for found in pool.map_async(scorer, [rows] * 3).get(300):
                assert found.equals(here)
        print(method)

if __name__ == "__main__":
    main()
"""


def test_processes_that_are_forked_and_spawned_score_alike(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(file_of("EnergyDetector of experts").read_bytes())
    frame_of("EnergyDetector of experts").to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "program.py").write_text(PROCESSES)
    done = run_python(tmp_path / "program.py", tmp_path)
    assert done.stdout.split() == ["fork", "spawn"], done.stderr
