"""What MLServer serves in the tests; runs in its environment, with numpy and nothing of this project."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse


class Network(MLModel):
    """Convolution 3 × 3, rectifier, mean over each map, linear layer, softmax: the weights come from a file."""

    async def load(self) -> bool:
        self._weights = dict(np.load(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        image = NumpyCodec.decode_input(payload.inputs[0])
        kernels, bias = self._weights["kernels"], self._weights["bias"]
        windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(2, 3))
        maps = np.einsum("nchwij,ocij->nohw", windows, kernels) + bias[:, None, None]
        means = np.maximum(maps, 0).mean(axis=(2, 3))
        scores = means @ self._weights["linear"].T
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        answer = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        outputs = [NumpyCodec.encode_output("probabilities", answer)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Echo(MLModel):
    """Gives each input back, called after its dtype."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = [
            NumpyCodec.encode_output(tensor.name.replace("in_", "out_"), NumpyCodec.decode_input(tensor))
            for tensor in payload.inputs
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Guarded(Network):
    """The network, for those who have the token."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        wanted = f"Bearer {self.settings.parameters.extra['token']}"
        if (payload.parameters.headers or {}).get("authorization") != wanted:
            raise MLServerError("who are you?", 401)
        return await super().predict(payload)


class Faulty(MLModel):
    """Fails, and quotes what it was given in its message."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        raise RuntimeError(f"cannot cope with {NumpyCodec.decode_input(payload.inputs[0]).flat[0]}")
