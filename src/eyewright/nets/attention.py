"""Attention that can be read, and the vision transformer made of it."""

__all__ = ["VisionTransformer", "attention", "hidden_width", "positional_encoding", "vit"]

from typing import Any

import torch
from torch import Tensor, nn

from eyewright.core.errors import UsageError
from eyewright.nets.activations import activation_of


def attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return softmax(Q K^T / sqrt(d)) V and the weights, the softmax itself (Vaswani et al. 2017, equation 1).

    Shapes are (..., T, d) and give (..., T, d) and (..., T, T); every row of the weights sums to 1.

    >>> out, weights = attention(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), torch.eye(2, 4)[None])
    >>> weights.tolist(), out[0, 0].tolist()
    ([[[0.5, 0.5], [0.5, 0.5]]], [0.5, 0.5, 0.0, 0.0])
    """
    weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
    return weights @ value, weights


def positional_encoding(length: int, dim: int) -> Tensor:
    """Return sines and cosines of the position, float32 (length, dim) (Vaswani et al. 2017, section 3.5).

    Column 2i is sin(position / 10000^(2i/dim)), column 2i+1 the cosine; `dim` is even.

    >>> positional_encoding(1, 4).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """
    position = torch.arange(length, dtype=torch.float64)[:, None]
    rate = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    table = torch.empty(length, dim, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)
    return table.float()


class _SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(dim, 3 * dim)
        self.outward = nn.Linear(dim, dim)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, tokens, dim = x.shape
        shaped = self.inward(x).view(n, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        return shaped[0], shaped[1], shaped[2]

    def forward(self, x: Tensor) -> Tensor:
        # The same numbers as `attention`, by the library's fused kernel.
        mixed = nn.functional.scaled_dot_product_attention(*self._parts(x))
        out: Tensor = self.outward(mixed.transpose(1, 2).reshape(x.shape))
        return out

    def weights(self, x: Tensor) -> Tensor:
        return attention(*self._parts(x))[1]


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, *, dropout: float, act: type[nn.Module]) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(dim)
        self.attention = _SelfAttention(dim, heads)
        self.before_dense = nn.LayerNorm(dim)
        self.dense = nn.Sequential(nn.Linear(dim, 2 * dim), act(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.before_attention(x)))
        out: Tensor = x + self.drop(self.dense(self.before_dense(x)))
        return out


class VisionTransformer(nn.Module):
    """Patches as tokens, self-attention, one class token that is read out (Dosovitskiy et al. 2021).

    `attentions` gives what every head of every layer attended to, so that the answer can be followed back to patches.
    """

    head_names = ("head.",)

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int,
        size_hw: tuple[int, int],
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        dropout: float,
        act: type[nn.Module],
    ) -> None:
        super().__init__()
        self.grid_hw = (size_hw[0] // patch, size_hw[1] // patch)
        # Two small convolutions see edges before patches are cut: a transformer on few images needs that
        # (Xiao et al. 2021, "Early convolutions help transformers see better").
        self.stem = nn.Sequential(
            nn.Conv2d(channels, dim // 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(dim // 2),
            act(),
            nn.Conv2d(dim // 2, dim, patch, stride=patch),
        )
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        rows, columns = self.grid_hw
        y, x = positional_encoding(rows, dim // 2), positional_encoding(columns, dim // 2)
        places = torch.cat([y[:, None].expand(-1, columns, -1), x[None].expand(rows, -1, -1)], 2)
        self.register_buffer("places", places.reshape(1, rows * columns, dim).contiguous())
        self.places: Tensor
        self.blocks = nn.ModuleList(_Block(dim, heads, dropout=dropout, act=act) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, n_classes)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def _tokens(self, x: Tensor) -> Tensor:
        patches = self.stem(x).flatten(2).transpose(1, 2) + self.places
        return torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self._tokens(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x[:, 0]))
        return out

    def attentions(self, x: Tensor) -> list[Tensor]:
        """Return every layer's weights, (N, heads, T, T); token 0 is the class, the others are patches, row by row."""
        x = self._tokens(x)
        found = []
        for block in self.blocks:
            found.append(block.attention.weights(block.before_attention(x)))  # type: ignore[operator, union-attr]
            x = block(x)
        return found


def vit(
    n_classes: int,
    *,
    channels: int = 3,
    size_hw: tuple[int, int] = (32, 32),
    dropout: float = 0.0,
    activation: str = "gelu",
) -> nn.Module:
    """Build a small vision transformer, about 0.9 M weights: 6 layers, 4 heads, an 8x8 to 16x16 grid of patches.

    >>> net = vit(10)
    >>> [tuple(a.shape) for a in net.attentions(torch.zeros(1, 3, 32, 32))][0]
    (1, 4, 65, 65)

    Raises:
        UsageError: an image of less than 16 pixels a side, or one that patches do not fill.
    """
    side = min(size_hw)
    patch = next((p for p in (16, 12, 8, 6, 4, 3, 2) if side // p >= 8 and size_hw[0] % p == size_hw[1] % p == 0), 0)
    if not patch:
        raise UsageError(
            f"vit needs images of 16 pixels a side or more that 2 or 3 divides, found {size_hw}", fix="change --imgsz"
        )
    return VisionTransformer(
        n_classes,
        channels=channels,
        size_hw=size_hw,
        patch=patch,
        dim=128,
        depth=6,
        heads=4,
        dropout=dropout,
        act=activation_of(activation),
    )


def hidden_width(body: Any) -> int:
    """Return how many numbers a token has in the transformer of images behind a body: ours, or one of Hugging Face."""
    if hasattr(body, "head"):
        return int(body.head.in_features)
    config = body.model.config
    return int(getattr(config, "vision_config", config).hidden_size)
