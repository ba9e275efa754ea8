"""The one call of grpc that is made: to a cluster of `fake_ray`, without a token."""

import os
from types import SimpleNamespace

from ray._raylet import check_token
from ray.exceptions import AuthenticationError


class RpcError(Exception):
    def code(self):
        return SimpleNamespace(name=self.args[0])


class insecure_channel:
    def __init__(self, address):
        self.address = address

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def unary_unary(self, method):
        def call(data, timeout):
            assert method.startswith("/ray.rpc.")
            token = os.environ.pop("RAY_AUTH_TOKEN", None)
            try:
                check_token(self.address)
            except AuthenticationError:
                raise RpcError("UNAUTHENTICATED") from None
            except ConnectionError:
                raise RpcError("UNAVAILABLE") from None
            finally:
                if token is not None:
                    os.environ["RAY_AUTH_TOKEN"] = token

        return call
