"""Any page as one HTML file: every part, hostile text, no network, read by a parser and by a browser."""

import html
import io
import json
import re
from importlib.resources import files

import altair as alt
import pytest

from htmlpages import check_page, in_browser
from upland.reporting.html import AT_FIRST, INHERITED, page_html
from upland.reporting.page import (
    Chart,
    Column,
    Facts,
    Gallery,
    Page,
    Picture,
    Prose,
    Section,
    Slider,
    Standing,
    Table,
)
from upland.scoring.escapes import escaped

HOSTILE = [
    "</script><script>document.documentElement.dataset.owned=1</script>",
    '<img src=x onerror="document.documentElement.dataset.owned=1">',
    '" onmouseover="document.documentElement.dataset.owned=1',
    "' autofocus onfocus='document.documentElement.dataset.owned=1",
    "<!-- <script>",
    "]]> --> &amp; &#60;b&#62;",
    r"back\slash \u003cscript\u003e \\",
    "line\u2028separator\u2029 and\nend\x00\x1b[31m",
    "\u202egnp.exe \u2066isolate",
    "a.b[0]['c'].d",
    "datum.x + alert(1)",
    "${document.cookie} {{constructor}} javascript:alert(1)",
    "half \ud83d of a character",
    "x" * 5_000,
    "\u05e9\u05dc\u05d5\u05dd مرحبا",
    "__proto__",
]
PLAIN = ["plain"] * len(HOSTILE)


def png():
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (200, 30, 30, 255)).save(file, "PNG")
    return file.getvalue()


def chart(words):
    values = [
        {"name": word[:40], "value": number, "time": 1e12 + number}
        for number, word in enumerate([*words, *INHERITED])
    ]
    bars = alt.Chart(alt.Data(values=values)).mark_bar(style="normal")
    bars = bars.encode(
        x=alt.X("value:Q", title=words[0]),
        y=alt.Y("name:N", title=words[1], sort=alt.SortField("value")),
        tooltip=["name:N", "value:Q"],
        color=alt.Color("name:N", legend=None),
    )
    return Chart(bars.properties(width="container", title=words[2]).to_dict(), words[3], words[4])


def page(words, rows=40):
    """A page of all parts, with words from the data wherever there is text."""
    word = iter(words * 40)
    table = Table(
        [
            Column(next(word)),
            Column(next(word), "number"),
            Column("p", "p_value"),
            Column("where", "picture"),
        ],
        [
            ((next(word), next(word)), float(n), n / rows, (Standing([1, 2], n / 9 - 1, next(word)), None))
            for n in range(rows)
        ],
        next(word),
    )
    levels = [next(word) for _ in range(3)]
    shown = [{next(word): next(word)} for _ in levels]
    gallery = Gallery([Picture(png(), next(word), png()), Picture(png(), next(word))])
    return Page(
        next(word),
        [next(word), next(word)],
        [
            Section(next(word), [Prose([next(word)], next(word)), chart(words)]),
            Section(next(word), [table, Facts({next(word): next(word)})]),
            Section(next(word), [gallery, Slider(next(word), levels, shown, 1)]),
            Section(next(word), [Prose([next(word)]), chart(words[5:] + words[:5])], folded=True),
        ],
        [next(word)],
    )


@pytest.fixture(scope="module")
def hostile():
    return page_html(page(HOSTILE))


@pytest.fixture
def no_vega(monkeypatch):
    """Pages without the script of Vega, which takes a second to put together."""
    monkeypatch.setattr("upland.reporting.html._vega", lambda: "0")


def without_keys(words):
    """The same where equal names would fall together."""
    return [f"{word}{number}" for number, word in enumerate(words)]


def test_no_element_or_attribute_comes_from_data(hostile, no_vega):
    plain, found = check_page(page_html(page(without_keys(PLAIN)))), check_page(hostile)
    assert found.shape[0] == plain.shape[0]
    unlike = [it for it in found.shape[1] if it[1] != "class"]
    assert unlike == [it for it in plain.shape[1] if it[1] != "class"]


def test_every_text_of_the_data_is_shown_as_it_is(hostile):
    text = check_page(hostile).text
    for word in HOSTILE:
        assert escaped(word, lines=False)[:200] in text, word[:60]


def test_charts_say_in_json_what_they_said(no_vega):
    given = chart(HOSTILE).spec
    found = check_page(page_html(Page("t", [], [Section("s", [chart(HOSTILE)])]))).json

    def shown(value):
        if isinstance(value, dict):
            return {key: shown(part) for key, part in value.items() if key not in ("config", "$schema")}
        return (
            list(map(shown, value))
            if isinstance(value, list)
            else (escaped(value) + " " * (value in INHERITED) if isinstance(value, str) else value)
        )

    assert found == [json.loads(json.dumps(shown(given)))]


def test_numbers_that_are_none_are_null(no_vega):
    values = [{"x": float("nan")}, {"x": float("inf")}, {"x": 1.5}]
    spec = {"data": {"values": values}, "mark": "bar", "encoding": {"x": {"field": "x"}}}
    found = check_page(page_html(Page("t", [], [Section("s", [Chart(spec, "", "")])]))).json
    assert [record["x"] for record in found[0]["data"]["values"]] == [None, None, 1.5]


@pytest.mark.parametrize("field", ["a.b", "a[0]", "x'", "datum['x']", "a b", ""])
def test_a_field_that_is_no_plain_word_is_refused(field):
    spec = {"data": {"values": [{field: 1}]}, "layer": [{"mark": "bar", "encoding": {"x": {"field": field}}}]}
    with pytest.raises(ValueError, match="no plain word"):
        page_html(Page("t", [], [Section("s", [Chart(spec, "", "")])]))


def test_a_page_without_charts_has_no_vega():
    assert len(page_html(Page("t", ["a"], [Section("s", [Prose(["b"])])]))) < 30_000


WORKS = """
const q = (s) => document.querySelector(s), all = (s) => [...document.querySelectorAll(s)];
const out = document.documentElement.dataset;
const table = q(".table table"), heads = all(".table thead th button");
const rows = () => all(".table tbody").filter((one) => one.offsetHeight > 0);
const first = () => rows()[0].rows[0].cells[1].textContent;
out.first = String(rows().length);
heads[1].click(); out.down = first() + heads[1].parentElement.getAttribute("aria-sort");
heads[1].click(); out.up = first() + heads[1].parentElement.getAttribute("aria-sort");
const most = q("input[type=number]"); most.value = "0.1"; most.dispatchEvent(new Event("input"));
out.most = String(rows().length); most.value = ""; most.dispatchEvent(new Event("input"));
const words = q("input[type=search]"); words.value = "NOWHERE"; words.dispatchEvent(new Event("input"));
out.none = String(rows().length) + q("output").textContent;
words.value = ""; words.dispatchEvent(new Event("input"));
all(".controls button").at(-1).click(); out.all = String(rows().length);
const slide = q("input[type=range]"); slide.value = "2"; slide.dispatchEvent(new Event("input"));
out.level = q(".moved output").textContent.trim().length > 0 ? "moved" : "none";
out.overlay = getComputedStyle(q(".overlay")).display; q(".switch").click();
out.bare = getComputedStyle(q(".overlay")).display;
dispatchEvent(new Event("beforeprint"));
out.folded = String(all("details:not([open])").length);
"""


@pytest.fixture(scope="module")
def browsed(hostile, tmp_path_factory):
    opened = hostile.replace("<details>", "<details open>")
    return in_browser(opened, tmp_path_factory.mktemp("browser"), WORKS)


def test_a_browser_draws_all_charts_and_runs_nothing_of_the_data(browsed):
    document, root = browsed
    assert "errors" not in root, root["errors"]
    assert root["charts"] == root["drawn"] == "2"
    assert "owned" not in root
    assert document.count('class="marks"') == 2


def test_the_policy_of_the_page_lets_its_own_scripts_run(hostile, tmp_path):
    _, root = in_browser(hostile.replace("<details>", "<details open>"), tmp_path)
    assert "errors" not in root, root["errors"]
    assert root["charts"] == root["drawn"] == "2"


def test_tables_sort_filter_and_unfold(browsed):
    root = browsed[1]
    assert root["first"] == str(AT_FIRST)
    assert (root["down"], root["up"]) == ("39descending", "0ascending")
    assert (root["most"], root["all"]) == ("5", "40")
    assert root["none"].startswith("0")
    assert "0 match" in root["none"]


def test_levels_move_and_heat_maps_hide(browsed):
    root = browsed[1]
    assert (root["level"], root["overlay"], root["bare"]) == ("moved", "block", "none")


def test_the_page_is_no_wider_than_a_telephone(hostile, tmp_path):
    """A window of a browser is 500 wide at least, a frame is not."""
    start, _, end = hostile.replace("<details>", "<details open>").rpartition("</body>")
    tell = "parent.document.documentElement.dataset"
    run = f"""<script>(function wait(){{const d=document.documentElement;
    if(d.dataset.drawn!==d.dataset.charts)return setTimeout(wait,20);
    {tell}.width=innerWidth;{tell}.wide=d.scrollWidth;{tell}.charts={tell}.drawn=2}})()</script>"""
    inside = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", f"{start}{run}</body>{end}")
    frame = f'<iframe style="width:360px;height:9000px;border:0" srcdoc="{html.escape(inside)}"></iframe>'
    _, root = in_browser(f"<!doctype html><html><head></head><body>{frame}</body></html>", tmp_path)
    assert root["width"] == "360"
    assert int(root["wide"]) <= 360


def test_folded_sections_open_on_paper(browsed):
    assert browsed[1]["folded"] == "0"


def test_tables_read_without_scripts(hostile):
    found = check_page(hostile)
    assert found.elements.count("tbody") >= 40
    assert not [value for _, name, value in found.attributes if name == "hidden"]


def colours():
    """The variables of the style sheet in the light and in the dark theme."""
    css = files("upland.reporting").joinpath("page.css").read_text("utf-8")
    light, dark = re.findall(r":root \{([^}]*--back[^}]*)\}", css)
    themes = [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", part)) for part in (light, dark)]
    assert themes[0].keys() == themes[1].keys()
    return themes


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        *[(text, back, 4.5) for text in ("text", "soft", "link") for back in ("back", "panel")],
        *[(mark, "back", 3.0) for mark in ("normal", "anomalous", "threshold", "focus")],
    ],
)
def test_text_and_marks_have_the_contrast_of_aa(theme, front, back, least):
    found = colours()[theme]
    light, dark = sorted((luminance(found[front]), luminance(found[back])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= least


def test_charts_take_every_colour_from_the_theme(browsed):
    drawings = re.findall(r'<svg[^>]*class="marks".*?</svg>', browsed[0], re.DOTALL)
    assert len(drawings) == 2
    used = {colour for one in drawings for colour in re.findall(r'(?:fill|stroke)(?:="|: )([^";]*)', one)}
    assert {"var(--text)", "var(--soft)", "var(--grid)"} <= used
    assert [it for it in used if not it.startswith("var(--") and it not in ("none", "transparent")] == []
