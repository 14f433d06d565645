"""Words of the first layout that are not to come back, in code, messages and documentation."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GLOBS = (
    "src/**/*.py",
    "examples/**/*.py",
    "docs/**/*.py",
    "docs/**/*.md",
    "*.md",
    "tests/**/*.py",
    "benchmarks/*.py",
)
FILES = sorted(
    path
    for glob in GLOBS
    for path in ROOT.glob(glob)
    if path.name not in ("CHANGELOG.md", Path(__file__).name)
)
WORDS = {
    r"\bjudg(e|es|ed|ing|ement)\b": "score, test, criterion",
    r"\byardsticks?\b": "fitted statistic",
    r"\b(told|mine)\b": "the thing's own name",
    r"\btell(s|ing)?\b( [\w`]+){0,4} apart\b": "names, identifies",
    r"\b(ladders?|rungs?|faces?)\b": "grid, grid point, interface",
    r"\bsettled?\b(?!_steps)": "fit_normalization, set",
    r"\bspacings?\b": "distance of neighbours",
    r"\b(rooms?|houses?|floors?(?!\())\b": "module, layer, package",
    r"\bgone off\b": "is anomalous",
    r"\bto blame\b": "contributing columns",
    r"\bas any other\b": "what is returned",
    r"\bkinds? of data\b": "modality",
    r"\b(kind_|data_kind|worst_channel|of_nets|nets_)\b": "modality, max_channel, without_prior, n_nets",
    r"""["']combined["']""": "multiscale, divergence_complexity, auto",
    r"""statistic=["']kernel["']""": "mmd",
    r"(?<![\w.])(members|kernel|centres)=(?!members|self)": "n_nets, kernel_size, n_centres",
}
NAMED = {
    ("docs/decisions/0011-second-layout.md", "data_kind"),
}
"""Words that a page quotes: what the first layout called a thing."""
ORDINARY = re.compile(
    r"\.floor\(|floor\(|settled_steps|kernel=\"rbf\"|op\(\"Floor\"|Hugging Face|hugging_?face"
)
"""Names of NumPy's, torch's, scikit-learn's and of ONNX and of a formula."""


@pytest.mark.parametrize("pattern", WORDS)
def test_words_of_the_first_layout_do_not_come_back(pattern):
    found = []
    for path in FILES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            words = ORDINARY.sub("", line)
            parts = "; ".join(
                name.replace("_", " ") for name in re.findall(r"[a-zA-Z]+(?:_[a-zA-Z]+)+", words)
            )
            for match in re.finditer(pattern, f"{words}\n{parts}", re.IGNORECASE):
                name = str(path.relative_to(ROOT))
                if (name, match[0]) not in NAMED:
                    found.append(f"{name}:{number}: {line.strip()}")
    assert not found, f"say {WORDS[pattern]}:\n" + "\n".join(found)
