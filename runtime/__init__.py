"""A model runtime: model packages, one process that owns them and batches all clients' requests, and its client.

It knows tensors and nothing of what they mean. `RuntimeClient` asks the process that `serve` runs; `LocalRuntime` does
the same work in the caller's process; both are a `Runtime`.

RuntimeFailure
├── PackageError          a model package is wrong, changed or incomplete (file, key)
├── InvalidInput          the request is not what the package declares
├── ModelNotFound         no model of that name and version is loaded
├── NoRoute               none of the model's routes can answer at present   retryable
├── DeadlineExceeded      no answer in the caller's time                     retryable
├── Overloaded            the queue is full; nothing was accepted            retryable
├── BackendFailure        the model failed, or gave what it does not declare
│   ├── BackendLost       … because its device is gone                       retryable
│   ├── OutOfMemory       … because so many samples at once do not fit       retryable
│   ├── RemoteUnavailable … because the server that has it does not answer   retryable
│   └── RouteUnavailable  … because this machine has not what its route needs
└── RuntimeUnavailable    no process answers, or it stopped meanwhile        retryable
"""

from runtime.client import RuntimeClient
from runtime.errors import (
    BackendFailure,
    BackendLost,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    NoRoute,
    OutOfMemory,
    Overloaded,
    PackageError,
    RemoteUnavailable,
    RouteUnavailable,
    RuntimeFailure,
    RuntimeUnavailable,
)
from runtime.health import LaneHealth, LaneState, ModelHealth, RuntimeUsage
from runtime.inference import Device, InferenceResult, Runtime
from runtime.local import LocalRuntime
from runtime.package import ModelDescription, ModelPackage, write_package
from runtime.preprocess import read_grey, to_input
from runtime.server import serve
from runtime.verdict import Verdict
from runtime.watch import DriftReport

__all__ = [
    "BackendFailure",
    "BackendLost",
    "DeadlineExceeded",
    "Device",
    "DriftReport",
    "InferenceResult",
    "InvalidInput",
    "LaneHealth",
    "LaneState",
    "LocalRuntime",
    "ModelDescription",
    "ModelHealth",
    "ModelNotFound",
    "ModelPackage",
    "NoRoute",
    "OutOfMemory",
    "Overloaded",
    "PackageError",
    "RemoteUnavailable",
    "RouteUnavailable",
    "Runtime",
    "RuntimeClient",
    "RuntimeFailure",
    "RuntimeUnavailable",
    "RuntimeUsage",
    "Verdict",
    "read_grey",
    "serve",
    "to_input",
    "write_package",
]
