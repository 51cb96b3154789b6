"""PatchTST: a transformer over patches of steps, blind to padding.

Paper: Nie et al., "A Time Series is Worth 64 Words: Long-term Forecasting with Transformers", ICLR 2023.
Shapes: x (B, L, in_dim), length (B,) -> (B, width). ``P`` patches of ``length`` steps each.

How ours differs: channels are mixed in the patch embedding (the paper treats each alone), positions are sinusoidal
and counted from the first step, patches without a valid step are masked in attention and in the pooled mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchEncoder(nn.Module):
    def __init__(
        self, in_dim: int, patch: int, width: int, heads: int, layers: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self._patch = patch
        self.embed = nn.Linear(patch * in_dim, width)
        self.layers = nn.ModuleList(_Layer(width, heads, hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self._patch))
        patches = x.unflatten(1, (-1, self._patch)).flatten(2)  # (B, P, patch * in_dim)
        first = torch.arange(patches.shape[1], device=x.device) * self._patch
        valid = first < length[:, None]  # (B, P)
        z = self.embed(patches)
        z = z + sinusoids(z.shape[1], z.shape[2]).to(z)
        for layer in self.layers:
            z = layer(z, valid)
        weight = (valid / valid.sum(1, keepdim=True)).to(z.dtype)  # (B, P)
        pooled: Tensor = (self.norm(z) * weight[..., None]).sum(1)  # (B, width)
        return pooled


class _Layer(nn.Module):
    """Pre-norm attention and feed-forward. (B, P, D), valid (B, P) -> (B, P, D)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self._heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        qkv = self.qkv(self.before(x)).unflatten(-1, (3, self._heads, -1))  # (B, P, 3, H, D/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, P, D/H) each
        scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])  # (B, H, P, P)
        share = scores.masked_fill(~valid[:, None, None], -1e4).softmax(-1).to(v.dtype)
        x = x + self.merge((share @ v).transpose(1, 2).flatten(2))
        out: Tensor = x + self.feed(self.between(x))
        return out


def sinusoids(count: int, width: int) -> Tensor:
    """Fixed position codes. Source: Vaswani et al., 2017, section 3.5. -> (count, width)."""
    rates = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
