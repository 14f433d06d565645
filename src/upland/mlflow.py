"""The MLflow flavour: models of upland in a registry, by the extra `mlflow`."""
