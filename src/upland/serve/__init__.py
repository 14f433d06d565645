"""A model over HTTP; the extra `serve`."""
