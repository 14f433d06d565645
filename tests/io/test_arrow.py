"""Arrow files of other writers."""

import pyarrow as pa
import pyarrow.feather

from rowfiles import TABLE
from upland.io.formats import open_source


def test_files_of_other_writers(tmp_path):
    pa.feather.write_feather(TABLE, str(tmp_path / "lz4.feather"), compression="lz4")
    with pa.ipc.new_stream(str(tmp_path / "stream.arrow"), TABLE.schema) as stream:
        stream.write_table(TABLE)
    for name in ("lz4.feather", "stream.arrow"):
        assert open_source(tmp_path / name).read().equals(TABLE)
