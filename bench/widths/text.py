"""Train a small character-level transformer on the docstrings of Python's standard library."""

from __future__ import annotations

import ast
import hashlib
import math
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fusedstep._bench.common import Array
from fusedstep.torch import AdamW

from .variants import REFERENCE, Variant

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
HELD_OUT = 0.1  # fraction of the docstrings that is held out


@dataclass(frozen=True)
class Setting:
    """The sizes of the model and the settings of a training."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 64
    batch: int = 8
    steps: int = 1000
    warm_up: int = 50
    last: int = 100  # number of steps at the end whose losses are averaged
    evaluations: int = 5  # how many times the loss on held-out text is computed during the last steps
    windows: int = 96  # number of windows of held-out text; a window has context + 1 characters
    lr: float = 3e-3
    least_lr: float = 0.05  # learning rate at the end of the training / lr
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1


def docstrings(limit: int | None = None) -> list[str]:
    """Return the docstrings of the standard library's top-level modules, or of the first `limit` modules.

    Characters outside of CHARACTERS and docstrings of less than 19 characters are left out.
    """
    found = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:limit]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                found.append("".join(c for c in text if c in CHARACTERS) + "\n\n")
    return [text for text in found if len(text) > 20]


class Corpus:
    """The text in two parts: for training, and held out. Each character is stored as its index in CHARACTERS."""

    def __init__(self, limit: int | None = None) -> None:
        texts = docstrings(limit)
        order = np.random.default_rng(0).permutation(len(texts))
        cut = int(HELD_OUT * len(texts))
        self.held_out, self.train = (
            self._codes("".join(texts[k] for k in part)) for part in (order[:cut], order[cut:])
        )

    @staticmethod
    def _codes(text: str) -> Tensor:
        return torch.tensor([CHARACTERS.index(c) for c in text])

    def facts(self) -> dict[str, Any]:
        """Return facts that identify the text, because the text depends on the version of Python."""
        digest = hashlib.sha256(self.train.numpy().tobytes()).hexdigest()[:16]
        return {"characters": len(self.train), "held_out": len(self.held_out), "sha256": digest}


def first_weights(s: Setting, seed: int) -> dict[str, Tensor]:
    """Return the parameters of a new model."""
    random, w = torch.Generator().manual_seed(seed), s.width

    def normal(*shape: int, scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=random)

    made = {"embedding": normal(len(CHARACTERS), w, scale=0.05), "position": normal(s.context, w, scale=0.02)}
    inner, outer = 1 / math.sqrt(w), 1 / math.sqrt(w * 2 * s.layers)
    for k in range(s.layers):
        made |= {
            f"{k}.qkv": normal(3 * w, w, scale=inner),
            f"{k}.out": normal(w, w, scale=outer),
            f"{k}.up": normal(4 * w, w, scale=inner),
            f"{k}.up_bias": torch.zeros(4 * w),
            f"{k}.down": normal(w, 4 * w, scale=outer / 2),
            f"{k}.norm1": torch.ones(w),
            f"{k}.norm2": torch.ones(w),
        }
    return made | {"norm": torch.ones(w), "bias": torch.zeros(len(CHARACTERS))}


def loss_of(s: Setting, p: dict[str, Tensor], windows: Tensor) -> Tensor:
    """Return the mean cross-entropy of the model with the parameters `p`, in nats per character.

    The parameters are first converted to float32. `windows` has one piece of text in each row.
    """
    p = {name: tensor.float() for name, tensor in p.items()}
    x, (n, length) = windows[:, :-1], windows[:, 1:].shape
    h = functional.embedding(x, p["embedding"]) + p["position"][:length]
    for k in range(s.layers):
        qkv = functional.layer_norm(h, (s.width,), p[f"{k}.norm1"]) @ p[f"{k}.qkv"].T
        q, key, value = qkv.view(n, length, 3 * s.heads, -1).transpose(1, 2).chunk(3, dim=1)
        mixed = functional.scaled_dot_product_attention(q, key, value, is_causal=True)
        h = h + mixed.transpose(1, 2).reshape(n, length, s.width) @ p[f"{k}.out"].T
        inside = functional.layer_norm(h, (s.width,), p[f"{k}.norm2"])
        inside = functional.gelu(functional.linear(inside, p[f"{k}.up"], p[f"{k}.up_bias"]))
        h = h + inside @ p[f"{k}.down"].T
    logits = functional.layer_norm(h, (s.width,), p["norm"]) @ p["embedding"].T + p["bias"]
    return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def rate(s: Setting, step: int) -> float:
    """Return the learning rate of a step: first a linear warm-up, then a cosine."""
    if step < s.warm_up:
        return s.lr * (step + 1) / s.warm_up
    share = (step - s.warm_up) / (s.steps - s.warm_up)
    return s.lr * (s.least_lr + (1 - s.least_lr) * (1 + math.cos(math.pi * share)) / 2)


def batches(s: Setting, text: Tensor, seed: int) -> Iterator[Tensor]:
    """Yield batches of windows (pieces of s.context + 1 characters) at random places in the text.

    For one seed, all variants get the same batches.
    """
    random = torch.Generator().manual_seed(1000 + seed)
    offsets = torch.arange(s.context + 1)
    for _ in range(s.steps):
        starts = torch.randint(len(text) - s.context - 1, (s.batch, 1), generator=random)
        yield text[starts + offsets]


def held_out_windows(s: Setting, text: Tensor) -> Tensor:
    """Return windows (pieces of s.context + 1 characters) at equal distances in the text."""
    starts = torch.linspace(0, len(text) - s.context - 2, s.windows).long()
    return text[starts[:, None] + torch.arange(s.context + 1)]


def train(corpus: Corpus, variant: Variant, seed: int, s: Setting) -> tuple[dict[str, float], AdamW]:
    """Train a new model. Return the two mean losses (on training batches and on held-out text) and the optimizer."""
    dtype = torch.bfloat16 if variant.bfloat16 else torch.float32
    params = {k: w.to(dtype).requires_grad_() for k, w in first_weights(s, seed).items()}
    optimizer = AdamW(
        list(params.values()), lr=s.lr, betas=s.betas, weight_decay=s.weight_decay, seed=seed, **variant.options
    )
    test, losses, held_out = held_out_windows(s, corpus.held_out), [], []
    evaluated = set(np.linspace(s.steps - s.last, s.steps, s.evaluations + 1).astype(int)[1:] - 1)
    for step, windows in enumerate(batches(s, corpus.train, seed)):
        loss = loss_of(s, params, windows)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.param_groups[0]["lr"] = rate(s, step)
        optimizer.step()
        losses.append(loss.item())
        if step in evaluated:
            with torch.no_grad():
                held_out.append(loss_of(s, params, test).item())
    return {"train": float(np.mean(losses[-s.last :])), "held_out": float(np.mean(held_out))}, optimizer


def learn(corpus: Corpus, variant: Variant, seed: int, s: Setting) -> dict[str, float]:
    """Train a new model. Return its mean losses in the last steps, on the training batches and on held-out text."""
    return train(corpus, variant, seed, s)[0]


def moments(corpus: Corpus, seed: int, s: Setting) -> list[tuple[Array, Array]]:
    """Return the first and second moments of each tensor after a training in float32, as flat arrays."""
    states = train(corpus, REFERENCE, seed, s)[1].state.values()
    return [(state["exp_avg"].numpy().reshape(-1), state["exp_avg_sq"].numpy().reshape(-1)) for state in states]
