"""Where the demonstration is: `examples/demo` beside the sources, or `upland/demo` in an installed wheel."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = "upland_demo"
"""What the folder is called as a package."""


def demonstration_folder() -> Path:
    """The folder of the demonstration.

    Raises:
        FileNotFoundError: It is neither in the installed package nor beside the sources.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "demo", package.parents[1] / "examples" / "demo"):
        if (folder / "run.py").is_file():
            return folder
    raise FileNotFoundError(f"the demonstration is missing: neither in {package} nor in examples/demo")


def load_demonstration() -> ModuleType:
    """The demonstration's module with the function `run`; raises as `demonstration_folder`."""
    if PACKAGE not in sys.modules:
        folder = demonstration_folder()
        spec = spec_from_file_location(
            PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[PACKAGE] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACKAGE])
    return import_module(f"{PACKAGE}.run")
