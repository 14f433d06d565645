"""The `Scorer`: one callable for every engine that holds rows in batches."""
