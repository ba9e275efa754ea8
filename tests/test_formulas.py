"""Every formula of docs/concepts/formulas.md against a direct implementation: loops over indices, no library."""

import math

import numpy as np
import pytest
import torch

from eyewright.metrics import confusion_matrix, precision_recall_f1
from eyewright.metrics.classification import Margins, accuracy
from eyewright.nets import attention, conv_net, positional_encoding, vit
from eyewright.training.objectives import classification_objective
from eyewright.training.recipe import Recipe

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (5, 4))
TARGETS = np.array([0, 3, 1, 2, 2])


def softmax(row: np.ndarray) -> list[float]:
    total = sum(math.exp(v) for v in row)
    return [math.exp(v) / total for v in row]


def mean_loss(one) -> float:  # type: ignore[no-untyped-def]
    """The mean over images of `one(logits, target)`."""
    return sum(one(row, t) for row, t in zip(LOGITS, TARGETS, strict=True)) / len(LOGITS)


def mse(z: np.ndarray, t: int) -> float:
    return sum((p - (k == t)) ** 2 for k, p in enumerate(softmax(z))) / len(z)


def cross_entropy(z: np.ndarray, t: int) -> float:
    return -sum((k == t) * math.log(p) for k, p in enumerate(softmax(z)))


def binary_cross_entropy(z: np.ndarray, t: int) -> float:
    total = 0.0
    for k, v in enumerate(z):
        s = 1 / (1 + math.exp(-v))
        total -= math.log(s) if k == t else math.log(1 - s)
    return total / len(z)


def huber(z: np.ndarray, t: int) -> float:
    total = 0.0
    for k, p in enumerate(softmax(z)):
        e = abs(p - (k == t))
        total += e * e / 2 if e <= 1 else e - 0.5
    return total / len(z)


@pytest.mark.parametrize("one", [mse, cross_entropy, binary_cross_entropy, huber])
def test_losses(one) -> None:  # type: ignore[no-untyped-def]
    loss = classification_objective(Recipe(loss=one.__name__, label_smoothing=0.0))
    assert float(loss(torch.from_numpy(LOGITS), torch.from_numpy(TARGETS))) == pytest.approx(mean_loss(one), abs=1e-12)


def test_convolution_and_pooling_as_the_article_prints_them() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, pool = conv_net(10)[:2]
    x = RNG.normal(0, 1, (3, 9, 8)).astype(np.float32)
    with torch.inference_mode():
        found = first(torch.from_numpy(x[None]))[0].numpy()
        pooled = pool(torch.from_numpy(found[None]))[0].numpy()
    weight, bias = first.weight.detach().numpy(), first.bias.detach().numpy()
    for k in (0, 7, 31):
        for i in range(7):
            for j in range(6):
                total = float(bias[k])
                for c in range(3):
                    for u in range(3):
                        for v in range(3):
                            total += float(weight[k, c, u, v]) * float(x[c, i + u, j + v])
                assert found[k, i, j] == pytest.approx(total, abs=1e-5)
        for i in range(3):
            for j in range(3):
                assert pooled[k, i, j] == max(found[k, 2 * i + u, 2 * j + v] for u in (0, 1) for v in (0, 1))


def test_attention() -> None:
    q, k, v = (RNG.normal(0, 1, (2, 5, 6)) for _ in range(3))
    out, weights = attention(*(torch.from_numpy(a) for a in (q, k, v)))
    for n in range(2):
        for i in range(5):
            row = softmax(np.array([sum(q[n, i, d] * k[n, j, d] for d in range(6)) / math.sqrt(6) for j in range(5)]))
            assert weights[n, i].tolist() == pytest.approx(row, abs=1e-12)
            for d in range(6):
                assert float(out[n, i, d]) == pytest.approx(sum(row[j] * v[n, j, d] for j in range(5)), abs=1e-12)


def test_what_the_net_computes_is_the_attention_that_it_shows() -> None:
    """The fused kernel of training and the weights that are shown must be one thing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = vit(3).eval()
    layer = net.blocks[0].attention
    x = torch.from_numpy(RNG.normal(0, 1, (2, 65, 128)).astype(np.float32))
    with torch.inference_mode():
        q, k, v = layer._parts(x)
        mixed, weights = attention(q, k, v)
        torch.testing.assert_close(
            layer(x), layer.outward(mixed.transpose(1, 2).reshape(x.shape)), atol=1e-5, rtol=1e-5
        )
        assert torch.equal(layer.weights(x), weights)


def test_positional_encoding() -> None:
    table = positional_encoding(50, 12)
    for p in range(50):
        for i in range(6):
            angle = p / 10000 ** (2 * i / 12)
            assert float(table[p, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(table[p, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


def test_accuracy_and_precision_are_two_things() -> None:
    truth, answer = RNG.integers(0, 3, 200), RNG.integers(0, 3, 200)
    table = confusion_matrix(truth, answer, 3)
    right = sum(t == a for t, a in zip(truth, answer, strict=True))
    margins = Margins(np.diag(table)[None], table.sum(1)[None], table.sum(0)[None])
    assert float(accuracy(margins)[0]) == pytest.approx(right / 200)
    for k in range(3):
        named = [t for t, a in zip(truth, answer, strict=True) if a == k]
        assert precision_recall_f1(table).precision[k] == pytest.approx(sum(t == k for t in named) / len(named))
