"""Files and bytes: one reader and one writer a format, whole-or-not-at-all writes, the model file."""
