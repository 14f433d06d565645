"""The user's objects to arrays of numbers and back: tables, sequences and images.

* `upland.data.table`: any frame or array to `(N, D)` codes, and the values that codes stand for.
* `upland.data.sequence`: arrays, lists and long frames as sequences of steps, cut into windows.
* `upland.data.image`: arrays, Pillow images, files and folders as pixels of one shape and dtype.
* `upland.data.encoder`, `upland.data.rows`: the interfaces of encoders, and of rows that a fit holds out.

NumPy, narwhals and pyarrow only: no torch, no one frame library.
"""
