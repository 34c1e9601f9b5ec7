"""What runs a package's weights, one module for each way; `runtime.backend.open_backend` chooses and imports late."""
