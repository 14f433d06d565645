"""A REST server of model files: the Open Inference Protocol and plain requests, over FastAPI."""
