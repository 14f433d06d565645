"""The way in and out: tables as arrays of numbers, and the files they come from.

Floor 1 of the house: NumPy, narwhals and pyarrow only. Nothing here knows of models, scores or p-values.

* `upland.data.schema`: `Column` and `Schema`, what was learned about a table.
* `upland.data.tables`: `TableEncoder`, any frame or array to `(N, D)` numbers and back.
* `upland.data.sources`, `upland.data.sinks`: CSV, Parquet and Arrow files, read and written in constant
memory.
"""
