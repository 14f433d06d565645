"""Excel workbooks: typed columns from the first sheet, or a reason why not."""

import sys
import zipfile
from datetime import datetime

import pytest

from upland.io.formats import open_source, suffix_of

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def cell(value, where):
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{where}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str) and value.startswith("="):
        return f'<c r="{where}"><f>{value[1:]}</f><v>42</v></c>'
    if isinstance(value, str):
        return f'<c r="{where}" t="inlineStr"><is><t>{value}</t></is></c>'
    if isinstance(value, datetime):
        return f'<c r="{where}" s="1"><v>{(value - datetime(1899, 12, 30)).total_seconds() / 86400}</v></c>'
    return f'<c r="{where}"><v>{value}</v></c>'


PARTS = {
    "[Content_Types].xml": """<Types xmlns="{package}/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>
{types}</Types>""",
    "_rels/.rels": """<Relationships xmlns="{package}/relationships">
<Relationship Id="r" Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>""",
    "xl/workbook.xml": """<workbook {main} xmlns:r="{relations}"><sheets>{sheets}</sheets></workbook>""",
    "xl/_rels/workbook.xml.rels": """<Relationships xmlns="{package}/relationships">{links}
<Relationship Id="st" Type="{relations}/styles" Target="styles.xml"/></Relationships>""",
    "xl/styles.xml": """<styleSheet {main}><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>
</styleSheet>""",
}
KINDS = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def workbook(path, *sheets):
    """A workbook as Excel writes it."""
    words = {"package": PACKAGE, "relations": RELATIONS, "main": MAIN, "kinds": KINDS}
    words |= dict.fromkeys(("types", "sheets", "links"), "")
    with zipfile.ZipFile(path, "w") as book:
        for n, rows in enumerate(sheets, start=1):
            lines = ""
            for r, row in enumerate(rows, start=1):
                cells = "".join(cell(value, f"{chr(65 + c)}{r}") for c, value in enumerate(row))
                lines += f'<row r="{r}">{cells}</row>'
            sheet = f"<worksheet {MAIN}><sheetData>{lines}</sheetData></worksheet>"
            book.writestr(f"xl/worksheets/s{n}.xml", sheet)
            kind = f"{KINDS}.worksheet+xml"
            words["types"] += f'<Override PartName="/xl/worksheets/s{n}.xml" ContentType="{kind}"/>'
            words["sheets"] += f'<sheet name="S{n}" sheetId="{n}" r:id="r{n}"/>'
            target = f'Type="{RELATIONS}/worksheet" Target="worksheets/s{n}.xml"'
            words["links"] += f'<Relationship Id="r{n}" {target}/>'
        for name, text in PARTS.items():
            book.writestr(name, text.format(**words))
    return path


ROWS = [
    ["flow", "site", "at", "open", "sum", "code"],
    [1.5, "north", datetime(2026, 1, 2, 12), True, "=A2*2", 7],
    [2.0, "N/A", datetime(2026, 1, 3), False, "=A3*2", "A3"],
    [None, "south", None, True, "=A4", None],
]


def test_without_the_reader_one_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    message = r"a.xlsx: Excel files need python-calamine: pip install 'upland\[excel\]'"
    with pytest.raises(ImportError, match=message):
        open_source(workbook(tmp_path / "a.xlsx", ROWS))


def test_excel_files_are_only_read(tmp_path):
    with pytest.raises(ValueError, match=r"\.xlsx files can only be read"):
        suffix_of(tmp_path / "a.xlsx", writable=True)


def test_columns_have_the_types_of_their_cells(tmp_path):
    pytest.importorskip("python_calamine")
    source = open_source(workbook(tmp_path / "a.xlsx", ROWS))
    assert source.read().to_pydict() == {
        "flow": [1.5, 2.0, None],
        "site": ["north", None, "south"],
        "at": [datetime(2026, 1, 2, 12), datetime(2026, 1, 3), None],
        "open": [True, False, True],
        "sum": [42, 42, 42],
        "code": ["7", "A3", None],
    }


def test_of_several_sheets_the_first_is_read_and_named(tmp_path):
    pytest.importorskip("python_calamine")
    path = workbook(tmp_path / "a.xlsx", ROWS, [["other"], [1]])
    with pytest.warns(UserWarning, match="2 sheets: the first is read, 'S1', and not 'S2'"):
        assert open_source(path).names == ROWS[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "sheet 'S1' is empty"),
        ([["a", "b"]], "columns but no rows"),
        ([["a", 3], [1, 2]], "column 2 has no name"),
        ([["a", "a"], [1, 2]], "duplicate column names: 'a'"),
        ([["a"], [True], [2.5]], "'a' holds truth values such as True, but also 2.5"),
    ],
)
def test_what_cannot_be_read_is_named(rows, message, tmp_path):
    pytest.importorskip("python_calamine")
    with pytest.raises(ValueError, match=message):
        open_source(workbook(tmp_path / "a.xlsx", rows))


def test_a_damaged_workbook(tmp_path):
    pytest.importorskip("python_calamine")
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"a.xlsx cannot be read as Excel"):
        open_source(tmp_path / "a.xlsx")
