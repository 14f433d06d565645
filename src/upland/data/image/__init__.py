"""Images: one container, pixels, encoding."""
