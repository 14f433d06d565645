"""The model card says what is true of a model, and text from the data stays text."""

import hashlib
import html
import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard

import upland
from estimators import EXAMPLES
from upland.reporting.card import Evaluation, Facts, markdown, model_card

NASTY = [
    "flow | rate",
    "`code`",
    "<script>alert(1)</script>",
    "**bold** _it_ [x](http://a) ![y](z)",
    "two\nlines\r# title",
    "---",
    "\x1b[31mred",
    "a & b < c ~~d~~ $e$",
]


def fitted(label):
    if label == "segments":
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({"machine": ["a", "b"] * 200, "flow": rng.normal(size=400)})
        return upland.SegmentedDetector(upland.EnergyDetector(random_state=0), "machine").fit(frame)
    if label == "cross":
        return EXAMPLES["EnergyDetector"].fit(calibration="cross")
    return EXAMPLES[label].fit()


@pytest.fixture(scope="module", params=[*EXAMPLES, "segments", "cross"])
def described(request):
    detector = fitted(request.param)
    return detector, model_card(detector, Facts("pumps", "m.safetensors", "ab" * 32))


def test_the_card_of_every_model_says_what_is_true_of_it(described):
    detector, card = described
    info = detector.info()
    calibration = info["calibration"]
    assert f"p-values: {calibration['method']} conformal, by {calibration['rows']:,} held-out" in card
    assert f"guarantee: {calibration['guarantee']}" in html.unescape(card.replace("\\", ""))
    assert f"smallest p-value: {calibration['smallest_p']:.3g};" in card
    assert f"`{info['detector']}`" in card
    assert f"criterion, what the score is: `{info['criterion']}`" in card
    assert f"learned from {info['rows']:,} normal" in card
    for column in info["columns"]:
        assert f"\n| {column['name']} | {column['kind']} |" in card
    stored = info["prior"]["training_rows"] + sum(info["kept_rows"].values())
    assert (f"up to {stored:,} encoded" in card) == bool(stored)
    assert "ab" * 32 in card
    assert "Not evaluated" in card


def test_the_hub_reads_the_card(described, tmp_path):
    detector, card = described
    (tmp_path / "README.md").write_text(card)
    read = ModelCard.load(tmp_path / "README.md")
    assert read.data.library_name == "upland"
    assert f"{detector.modality}-data" in read.data.tags
    assert read.data.eval_results is None
    assert read.data.license is None


def test_results_are_a_model_index():
    evaluation = Evaluation('pumps: "May"', {"roc_auc": 0.975, "own score": 3}, "By hand.")
    card = model_card(fitted("EnergyDetector"), Facts("a: b", "m", "0", "mit", evaluation, ("pumps",)))
    data = ModelCard(card).data
    assert (data.license, data.model_name) == ("mit", "a: b")
    assert data.tags[-1] == "pumps"
    assert [(found.metric_type, found.metric_value) for found in data.eval_results] == [
        ("roc_auc", 0.975),
        ("own score", 3),
    ]
    assert data.eval_results[0].dataset_name == 'pumps: "May"'
    assert "| ROC AUC | 0.975 |" in card


@pytest.mark.parametrize("name", NASTY)
def test_names_from_the_data_stay_text(name):
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(
        pd.DataFrame({name: np.random.default_rng(0).normal(size=60), "b": np.arange(60.0) % 7})
    )
    card = model_card(detector, Facts(name, name, "0", evaluation=Evaluation(name, {name: 1.0}, name)))
    front, body = card.split("\n---\n", 1)
    record = yaml.safe_load(front)
    assert record["model-index"][0]["name"] == name
    assert record["model-index"][0]["results"][0]["dataset"]["name"] == name
    prose = re.sub(r"^```.*?^```", "", body, flags=re.MULTILINE | re.DOTALL)
    rows = [line for line in prose.splitlines() if line.startswith("|") and "numeric" in line]
    assert len(rows) == 2
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
    assert "<script" not in prose
    assert "\x1b" not in card
    assert not re.search(r"(?<!\\)[*\[]", re.sub(r"`[^`\n]*`", "", prose))
    assert len([line for line in prose.splitlines() if line.startswith("# ")]) == 1


def test_markup_is_shown_as_it_is():
    assert markdown("a|b\n`c` <d> & *e*") == r"a\|b \`c\` &lt;d&gt; &amp; \*e\*"


# -- the command ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """A model file and labelled rows."""
    folder = tmp_path_factory.mktemp("cards")
    rng = np.random.default_rng(1)
    rows = pd.DataFrame(rng.normal(size=(300, 2)), columns=["flow", "load"])
    upland.save(upland.EnergyDetector(random_state=0, progress=False).fit(rows), folder / "m.safetensors")
    new = pd.DataFrame(rng.normal(size=(100, 2)), columns=["flow", "load"]).assign(broken=0)
    new.loc[90:, ["flow", "broken"]] = [9.0, 1]
    new.to_csv(folder / "new.csv", index=False)
    return folder


@pytest.fixture
def run(works, monkeypatch, capsys):
    """Run `upland card` in the folder: exit code and both outputs."""
    from upland.cli import program

    monkeypatch.chdir(works)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["upland", "card", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            program.main()
        return (stopped.value.code, *capsys.readouterr())

    return run


def test_the_command_writes_a_card_once(run, works):
    code, out, err = run("m.safetensors", "-o", "card.md", "--license", "mit")
    assert (code, err) == (0, "")
    assert out == "wrote card.md\n"
    text = (works / "card.md").read_text()
    assert hashlib.sha256((works / "m.safetensors").read_bytes()).hexdigest() in text
    assert run("m.safetensors", "-o", "card.md")[0] == 3
    assert run("m.safetensors", "-o", "card.md", "--license", "mit", "--overwrite")[0] == 0
    assert (works / "card.md").read_text() == text


def test_the_card_itself_is_printed_without_an_output(run):
    code, out, _ = run("m.safetensors")
    assert code == 0
    assert ModelCard(out).data.library_name == "upland"
    document = json.loads(run("m.safetensors", "--json")[1])
    assert document["card"].rstrip() == out.rstrip()
    assert document["output"] is None


def test_labelled_rows_are_evaluated(run):
    code, out, err = run("m.safetensors", "--labelled", "new.csv", "--label", "broken")
    assert code == 0, err
    found = {part.metric_type: part.metric_value for part in ModelCard(out).data.eval_results}
    assert found["roc_auc"] == found["recall"] == 1.0
    assert 0 <= found["false_alarm_rate"] <= 0.2
    assert "100 rows, 10 of them anomalies" in out


def test_labelled_data_are_of_tables_alone_and_results_of_one_s_own_of_anything(run, works):
    series = EXAMPLES["SequenceEnergyDetector"]
    upland.save(series.fit(), works / "series.safetensors")
    code, _, err = run("series.safetensors", "--labelled", "new.csv", "--label", "broken")
    assert code == 1
    assert "are for models of tables: give --evaluation with results of your own" in " ".join(err.split())
    (works / "own.json").write_text('{"dataset": "pumps", "metrics": {"roc_auc": 0.9}}')
    code, out, err = run("series.safetensors", "--evaluation", "own.json")
    assert code == 0, err
    assert ModelCard(out).data.eval_results[0].metric_value == 0.9


WRONG = {
    "no label": (["--labelled", "new.csv"], 2, "belong together"),
    "two ways": (["--labelled", "new.csv", "--label", "broken", "--evaluation", "r"], 2, "either"),
    "no column": (["--labelled", "new.csv", "--label", "bad"], 1, "has no column 'bad' of labels"),
    "a feature": (["--labelled", "new.csv", "--label", "flow"], 1, "is a feature of this model"),
    "no normal row": (
        ["--labelled", "broken.csv", "--label", "broken"],
        1,
        "every row is labelled an anomaly: label normal rows with 0",
    ),
    "no JSON": (["--evaluation", "new.csv"], 1, "is no JSON"),
    "a number of 400 digits": (["--evaluation", "long.json"], 1, "'m' must be a finite number"),
    "a number of 5000 digits": (["--evaluation", "longer.json"], 1, "longer.json is no JSON"),
    "deep lists": (["--evaluation", "deep.json"], 1, "is nested too deeply"),
    "no metrics": (["--evaluation", "list.json"], 1, "must hold"),
    "no number": (["--evaluation", "word.json"], 1, "'roc_auc' must be a finite number"),
    "the model": (["-o", "m.safetensors", "--overwrite"], 3, "is the input itself"),
    "a rate": (["--alpha", "2"], 2, "between 0 and 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_refused(run, works, case):
    (works / "list.json").write_text("[]")
    (works / "long.json").write_text('{"dataset": "d", "metrics": {"m": %s}}' % ("9" * 400))
    (works / "longer.json").write_text('{"dataset": "d", "metrics": {"m": %s}}' % ("9" * 5000))
    (works / "deep.json").write_text("[" * 100_000)
    (works / "broken.csv").write_text("flow,load,broken\n1,2,1\n2,1,1\n")
    (works / "word.json").write_text('{"dataset": "d", "metrics": {"roc_auc": "high"}}')
    arguments, code, words = WRONG[case]
    before = (works / "m.safetensors").read_bytes()
    done = run("m.safetensors", *arguments)
    assert done[0] == code
    assert words in " ".join(done[2].split())
    assert (works / "m.safetensors").read_bytes() == before
