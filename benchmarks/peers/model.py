"""What every peer does with an image: Pillow, resize, ONNX Runtime on one thread. Run in the peers' own environment."""

import io
import json
import os

import numpy as np
import onnxruntime as ort
from PIL import Image


class Model:
    """The bundle's ONNX file, prepared as the bundle prepares: stretched or letterboxed to its size."""

    def __init__(self) -> None:
        folder = os.environ["PEER_BUNDLE"]
        about = json.load(open(os.path.join(folder, "bundle.json")))
        self.labels = about["labels"]
        self.height, self.width = about["preparation"]["size_hw"]
        self.grey = about["preparation"]["channels"] == 1
        self.letterbox = about["preparation"]["fit"] == "letterbox"
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.path.join(folder, "onnx", "model.onnx")
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def prepare(self, data: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(data))
        if os.environ.get("PEER_DRAFT"):
            # As `Image.thumbnail` does: no fewer pixels than the model takes.
            image.draft(None, (self.width, self.height))
        image = image.convert("L" if self.grey else "RGB")
        if self.letterbox:
            scale = min(self.height / image.height, self.width / image.width)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            canvas = Image.new(image.mode, (self.width, self.height))
            canvas.paste(image.resize(size, Image.Resampling.BILINEAR),
                         ((self.width - size[0]) // 2, (self.height - size[1]) // 2))  # fmt: skip
            image = canvas
        else:
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        return pixels.reshape(1, self.height, self.width, -1)

    def answer(self, data: bytes) -> dict:
        (row,) = self.session.run(["probabilities"], {"image": self.prepare(data)})[0]
        order = np.argsort(-row)
        return {"labels": [self.labels[i] for i in order], "scores": [float(row[i]) for i in order]}
