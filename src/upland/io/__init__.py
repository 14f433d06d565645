"""Files: one module a format, opened by suffix; replacement whole or not at all; the model file. No torch."""
