"""Features of images from networks that are not trained here: a bundled one, or the user's own."""
