"""The way in and out: tables as arrays of numbers, and the files they come from.

Floor 1 of the house: NumPy, narwhals and pyarrow only. Nothing here knows of models, scores or p-values.

* `upland.io.schema`: `Column` and `Schema`, what was learned about a table.
* `upland.data.table.encoder`: `TableEncoder`, any frame or array to `(N, D)` numbers and back.
* `upland.io.formats`, `upland.io.writer`: CSV, Parquet and Arrow files, read and written in constant
memory.
"""
