"""The protocols of other servers: Open Inference Protocol and MLflow."""
