"""MLServer with two parallel workers; an image is a BYTES tensor of base64, which is what its REST door takes."""

import json

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from model import Model


class Served(MLModel):
    async def load(self) -> bool:
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        import base64

        text = payload.inputs[0].data[0]
        data = base64.b64decode(text)
        told = json.dumps(self.model.answer(data))
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("answer", [told])])
