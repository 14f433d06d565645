"""What a model becomes elsewhere: an ONNX graph (the extra `onnx`)."""
