"""Clients that are processes of their own, on this machine or others: what the training loop asks of them.

The coordinator never connects to a client. Clients ask for work over HTTP (`serving.federation`), and `Rounds` is where
their requests and the training loop meet.
"""

__all__ = ["RemoteClients"]

import math
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eyewright.nets.pixels import PixelNet
from eyewright.privacy.federated_messages import Description
from eyewright.privacy.federating import Answer, Collected
from eyewright.privacy.local_training import Client, ClientRound, vector_of
from eyewright.privacy.masking import dequantise
from eyewright.privacy.rounds import Member, Received, Rounds
from eyewright.training.federated_options import FederatedOptions
from eyewright.training.loop import FitData
from eyewright.training.steps import TrainState


class RemoteClients:
    """The clients of `Rounds`.

    Args:
        describe: what clients are told, given the number of weights.
        wait_s: how long clients are waited for where too few are there.
        say: called with every line of progress.
    """

    simulated, saves_every_step = False, True

    def __init__(
        self,
        rounds: Rounds,
        options: FederatedOptions,
        describe: Callable[[int], Description],
        *,
        wait_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.clients: list[Client] = []
        self._rounds, self._options, self._describe = rounds, options, describe
        self._wait_s, self._say = wait_s, say

    def begin(self, net: PixelNet, data: FitData, device: torch.device) -> None:
        """Let clients join."""
        self._rounds.describe(self._describe(len(vector_of(net))))

    def collect(self, state: TrainState, before: NDArray[np.float32]) -> Collected:
        """Offer a round to the clients, and wait for what they send."""

        def stop() -> None:
            # The round is not over: the checkpoint that was written before it is the newest there can be.
            if signal.SIGINT in state.signals:
                raise KeyboardInterrupt
            if state.signals:
                raise SystemExit(143)

        number, rounds, o = state.step, self._rounds, self._options
        members = rounds.gather(self._wait_s, stop)
        if not self.clients:
            self.clients = [_client(m, k) for k, m in enumerate(members)]
        least = max(1, math.ceil(o.least * len(members)))
        rounds.await_active(max(2, least) if o.secure else least, self._wait_s, stop)
        lr = [float(g["lr"]) for g in state.optimiser.param_groups]
        total, added = None, []
        if o.secure:
            found = rounds.run_masked(number, before, lr=lr, progress=state.progress, fraction=o.least, stop=stop)
            received: Mapping[str, Received] = found.received
            if found.total is not None:
                total = dequantise(found.total, o.secure_range)
                added = [k for k, m in enumerate(members) if m.name in received]
            else:
                self._say(f"round {number + 1} changes nothing: {found.why}")
        else:
            received = rounds.run(number, before, lr=lr, progress=state.progress, stop=stop)
        answers = self._noted(members, received)
        used = len(added) if o.secure else sum(a.update is not None for a in answers)
        losses = [a.loss for a in answers if a.loss is not None and a.update is not None]
        loss = f", mean loss {np.mean(losses):.4f}" if losses else ""
        self._say(f"round {number + 1}: {used} of {len(members)} updates{loss}")
        return Collected(answers, total, added)

    def _noted(self, members: Sequence[Member], received: Mapping[str, Received]) -> list[Answer]:
        """Note with each client what it sent, and return all answers."""
        answers = []
        for member, client in zip(members, self.clients, strict=True):
            came = received.get(member.name)
            client.claimed, client.delta, client.noise = member.epsilon, member.delta, member.noise
            if came is None:
                client.rounds.append(ClientRound(0, None, "nothing was sent"))
                continue
            client.rounds.append(ClientRound(came.sent, came.loss, came.why, came.digest))
            answers.append(Answer(client.number, came.update, came.loss))
        return answers

    def state(self) -> Mapping[str, Any]:
        """Return members, and what each of them sent in every round."""
        return {
            "members": self._rounds.state(),
            "rounds": [[asdict(r) for r in c.rounds] for c in self.clients],
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue with the members of a checkpoint; clients come back by themselves."""
        rounds = [[ClientRound(**r) for r in of_client] for of_client in state["rounds"]]
        seen = [r.digest for of_client in rounds for r in of_client if r.digest and not r.refused]
        members = [Member(**m) for m in state["members"]]
        self._rounds.restore(state["members"], seen)
        # Before the first round nobody has a number yet.
        self.clients = [_client(m, k, of) for k, (m, of) in enumerate(zip(members, rounds, strict=False))]


def _client(member: Member, number: int, rounds: Sequence[ClientRound] = ()) -> Client:
    return Client(
        member.name,
        np.zeros(0, np.int64),
        number=number,
        claimed=member.epsilon,
        delta=member.delta,
        noise=member.noise,
        rounds=list(rounds),
        elsewhere=(member.images, member.groups),
    )
