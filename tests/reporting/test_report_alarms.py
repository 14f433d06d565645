"""The section on alarms: the numbers of every level, and no others."""

import numpy as np
import pandas as pd
import pytest

import upland
from estimators import EXAMPLES, FEATURES
from scorers import NAMES, file_of, frame_of
from upland.reporting.alarms import alarms_section
from upland.reporting.page import Prose, Slider, Table
from upland.reporting.report import report


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_every_level_is_on_the_slider_and_in_the_table(name):
    arrays = np.random.default_rng(3).normal(size=(20, 6, 2)).cumsum(axis=1)
    data = (
        arrays
        if "array" in name
        else frame_of(name)
        if (" of " in name and name != FEATURES) or name not in EXAMPLES
        else None
    )
    model = upland.load(file_of(name)).set_alpha(0.2)
    found = upland.alarms(model, EXAMPLES[name].new if data is None else data)
    section = alarms_section(found)
    prose, slider, _, table = section.parts
    assert isinstance(prose, Prose)
    assert isinstance(slider, Slider)
    assert isinstance(table, Table)
    assert len(slider.levels) == len(slider.shown) == len(found.levels())
    assert float(slider.levels[slider.start]) == 0.2
    assert [row[3] for row in table.rows] == [level.flagged for level in found.levels("fdr")]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert found.guarantee in prose.paragraphs[1]
    for level, shown in zip(found.levels(), slider.shown, strict=True):
        assert shown["Alarms in all"] == f"{level.alarms:,}"
        expected = f"{found.bound} {level.alpha * found.rows:.3g} {found.unit}s"
        assert shown["Falsely flagged on average, if all are normal"] == expected


def test_a_page_holds_the_alarms_of_its_rows_over_time_and_by_the_models_own_level():
    rows = pd.concat([EXAMPLES["EnergyDetector"].new] * 3, ignore_index=True)
    rows = rows.assign(when=pd.date_range("2026-03-01", periods=len(rows), freq="2h"))
    model = upland.load(file_of("EnergyDetector")).set_alpha(0.2)
    made = report(model, rows, time="when")
    assert made.facts["alpha"] == 0.2
    section = next(one for one in made.page.sections if one.title == "Alarms at each level")
    expected = alarms_section(upland.alarms(model, rows, time="when"))
    assert section == expected
    assert "Alarms per day" in expected.parts[1].shown[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["SequenceEnergyDetector", "ImageEnergyDetector"])
def test_a_page_of_series_and_one_of_images_hold_what_the_library_finds(name):
    model, data = upland.load(file_of(name)), EXAMPLES[name].new
    section = next(one for one in report(model, data).page.sections if one.title == "Alarms at each level")
    assert section == alarms_section(upland.alarms(model, data))


def test_groups_of_a_page_keep_their_own_rate_unless_a_level_is_given():
    rows = pd.concat([EXAMPLES["EnergyDetector"].new] * 3, ignore_index=True)
    rows["lot"] = np.arange(len(rows)) % 3
    model = upland.load(file_of("EnergyDetector")).set_alpha(0.2)
    for given, rate in ((None, "0.05"), (0.3, "0.3")):
        section = next(
            one for one in report(model, rows, "lot", alpha=given).page.sections if one.title == "Groups"
        )
        assert f"at a false discovery rate of {rate}" in section.parts[0].paragraphs[0]
