"""Ray Serve with two replicas of a core each."""

import sys
import time

import ray
from model import Model
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=64)
class Served:
    def __init__(self) -> None:
        self.model = Model()

    async def __call__(self, request: Request) -> dict:
        return self.model.answer(await request.body())


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Served.bind(), route_prefix="/predict")
    while True:
        time.sleep(1)
