"""BentoML with two workers."""

from pathlib import Path

import bentoml
from model import Model


@bentoml.service(workers=2, traffic={"timeout": 60})
class Served:
    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(route="/predict")
    def predict(self, image: Path) -> dict:
        return self.model.answer(image.read_bytes())
