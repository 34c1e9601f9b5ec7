"""Serves the models of a `Runtime` by the Open Inference Protocol v2 over HTTP, for clients such as `tritonclient`.

The protocol is that of KServe and Triton (REST, with Triton's binary tensor extension). Only tensors pass: no patient,
no study, nothing is stored. Who has no key hears nothing but that the server lives.

    HTTP ─ application ─▶ Access (key, rate) ─▶ wire.read_request ─▶ Runtime.infer ─▶ wire.write_answer ─▶ HTTP

A request that is wrong is a `BadRequest`, and becomes status 400 with a reason that holds no value of a tensor.
"""

from adapters.open_inference.access import Access, ApiKey, new_api_key
from adapters.open_inference.application import Answering, Served, application
from adapters.open_inference.wire import BadRequest

__all__ = ["Access", "Answering", "ApiKey", "BadRequest", "Served", "application", "new_api_key"]
