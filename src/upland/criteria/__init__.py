"""What a row, a step, a sequence or an image is scored by."""
