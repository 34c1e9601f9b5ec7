"""Makes packages of models that others made: ONNX, TorchScript and torch.export files, MONAI bundles, servers.

A file is read once; what is tried is what is stored. It is tried in a process of its own with limits, since PyTorch's
files are programs and any reader has bugs; that holds back accidents and simple malice, and is no prison: import models
of makers whom you trust. Nothing is unpickled here but tensors (``weights_only=True``).
"""

from runtime.importing.model import import_model

__all__ = ["import_model"]
