"""GPT-Neo written out for scoring: the same mathematics as transformers', arranged for speed.

transformers runs GPT-Neo only with its slowest attention. Here whole sequences go through the
fused attention of torch, and decoding is arranged by what limits it. On a CPU that is the memory
read per token, hence three measures (`SharedPrefixSteps`):

- Rows of one sequence attend to one copy of their common prefix, by a matrix product.
- Of its own tokens a row keeps only the normalized input y of each layer, not keys and values,
  half of the memory: the score of query q in head h is q . (K_h y) = (K_h^T q) . y, and the
  weighted sum of values V_h y is V_h times the weighted sum of y.
- Rows go in blocks small enough for the second reading of y to hit the processor's cache.

On a GPU, and for short sequences, the number of calls counts more: all rows form one block with
plain keys and values (`NeoRowSteps`).
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.activations import NewGELUActivation
from transformers.models.gpt_neo.modeling_gpt_neo import (
    GPTNeoBlock,
    GPTNeoForCausalLM,
    GPTNeoSelfAttention,
)
from typing_extensions import override

from unlearning.models.readers import CachedSteps, LayerStates, Reader, Steps

SHARED_ROWS = 24  # rows of one sequence in a block: more rows share less, fewer cost more calls
SHARED_FROM = 100  # tokens; shorter sequences have too few rows and too short prefixes to share
POOLED_BELOW = 12  # a sequence with fewer rows shares nothing: its products would be too small


class GPTNeoReader(Reader):
    """GPT-Neo: causal attention without scaling, with a window in the local layers.

    Each layer keeps keys and values, (S, heads, T, head width), and its normalized input,
    (S, T, width), in float32.
    """

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Whether `model` is plain GPT-Neo, nothing replaced inside (adapters, quantization)."""
        if type(model) is not GPTNeoForCausalLM or model.dtype == torch.float64:
            return False
        parts = [block.attn.attention for block in model.transformer.h]
        return all(
            type(part) is GPTNeoSelfAttention
            and all(type(p) is torch.nn.Linear for p in (part.q_proj, part.k_proj, part.v_proj))
            for part in parts
        )

    @torch.no_grad()
    def __init__(self, model: PreTrainedModel):
        super().__init__(model)
        self.layers = [
            NeoLayer(block, model.config.num_heads, model.config.window_size)
            for block in model.transformer.h
        ]

    def embed(self, tokens: Tensor, first: int) -> Tensor:
        """Input embeddings of token rows (..., L) whose first column is at position `first`."""
        body = self.model.transformer
        positions = torch.arange(first, first + tokens.shape[-1], device=tokens.device)
        return body.wte(tokens) + body.wpe(positions)

    @override
    def hidden(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens, 0)
        for layer in self.layers:
            x, *_ = layer.run(x)
        return self.model.transformer.ln_f(x)

    @override
    def read(self, tokens: Tensor) -> tuple[Tensor, list[LayerStates]]:
        x = self.embed(tokens, 0)
        prefix = []
        for layer in self.layers:
            x, *states = layer.run(x)
            prefix.append(tuple(states))
        return self.model.transformer.ln_f(x), prefix

    @override
    def open(self, prefix: list[LayerStates], sequence: Tensor, start: Tensor) -> Steps:
        length = prefix[0][0].shape[2]
        shares = sequence.device.type == "cpu" and length >= SHARED_FROM
        kind = SharedPrefixSteps if shares else NeoRowSteps
        return kind(self, prefix, sequence, start)


def gelu_tanh(x: Tensor) -> Tensor:
    """GPT-Neo's `gelu_new`, x (1 + tanh u) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3).

    On a CPU it is computed as the equal x sigmoid(2u): torch's own takes twice as long there.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return functional.gelu(x, approximate="tanh")
    inner = torch.addcmul(x, x.square(), x, value=0.044715)
    return inner.mul_(2 * math.sqrt(2 / math.pi)).sigmoid_().mul_(x)


class NeoLayer:
    """One block of GPT-Neo, apart from where its past is kept."""

    def __init__(self, block: GPTNeoBlock, heads: int, window: int):
        attention = block.attn.attention
        self.block, self.heads = block, heads
        self.window = window if attention.attention_type == "local" else None
        self.query, self.key, self.value = attention.q_proj, attention.k_proj, attention.v_proj
        self.out = attention.out_proj
        # (heads, head width, width); scores are float32 in the model, whatever its weights are
        self.key_heads, self.value_heads = (
            part.weight.unflatten(0, (heads, -1)).float() for part in (self.key, self.value)
        )
        new_gelu = isinstance(block.mlp.act, NewGELUActivation)
        self.act = gelu_tanh if new_gelu else block.mlp.act

    def split(self, projected: Tensor) -> Tensor:
        """Heads apart: (..., L, width) to (..., heads, L, head width)."""
        return projected.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def first_seen(self, position: int) -> int:
        """The earliest position that a token at `position` attends to."""
        return 0 if self.window is None else max(0, position + 1 - self.window)

    def run(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Whole sequences (B, L, width): output, keys, values, normalized input in float32."""
        y = self.block.ln_1(x)
        query, key, value = (self.split(part(y)) for part in (self.query, self.key, self.value))
        length = x.shape[1]
        seen = None
        if self.window is not None and self.window < length:
            seen = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
            seen &= ~seen.tril(-self.window)
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, is_causal=seen is None, scale=1.0
        )
        return self.finish(x, attended.transpose(1, 2)), key, value, y.float()

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block's output from its input and what its heads attended to, (..., heads, width)."""
        x = x + self.out(attended.flatten(-2))
        mlp = self.block.mlp
        return x + mlp.c_proj(self.act(mlp.c_fc(self.block.ln_2(x))))


class NeoRowSteps(CachedSteps):
    """All rows at once, each with keys and values of its own."""

    def __init__(self, reader: GPTNeoReader, *rows: object):
        super().__init__(*rows)
        self.reader = reader

    @override
    def step(self, position: int, token: Tensor) -> Tensor:
        x = self.reader.embed(token[:, None], position)
        for layer, cache in zip(self.reader.layers, self.layers, strict=True):
            y = layer.block.ln_1(x)
            query, *new = (layer.split(part(y)) for part in (layer.query, layer.key, layer.value))
            cache.position = position
            seen = slice(layer.first_seen(position), None)
            keys, values = (kind[:, :, seen] for kind in cache.update(*new))
            attended = functional.scaled_dot_product_attention(query, keys, values, scale=1.0)
            x = layer.finish(x, attended.transpose(1, 2))
        return self.reader.model.transformer.ln_f(x)[:, 0]


@dataclass
class Block:
    """Rows that are attended to together: of one sequence, or of several that share nothing.

    Attributes:
        starts: the rows' starts, ascending.
        base: positions before it are read from the shared prefix; 0 if nothing is shared.
        shared: per layer the keys and values of the shared prefix, (heads, T, head width) each.
        own: per layer the rows' own normalized inputs from `base` on, (rows, T - base, width).
            Filled up to the last start; what lies behind a row's own start is overwritten as the
            row reaches it, before it is read.
    """

    starts: list[int]
    base: int
    shared: list[tuple[Tensor, Tensor]]
    own: list[Tensor]

    def attend(
        self, layer: int, position: int, since: int, y: Tensor, query: Tensor, reach: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Attention of the first a rows over positions `since`..`position`.

        Args:
            layer: index of the layer.
            position: of the new token.
            since: the earliest position it attends to.
            y: (a, width), its normalized input.
            query: (heads, a, head width), what meets keys.
            reach: (heads, a, width), what meets normalized inputs.

        Returns:
            (a, heads, width), the weighted sum of the rows' own inputs; and (heads, a, head
            width), that of the shared values, or None.
        """
        rows, here = len(y), position - self.base
        own = self.own[layer]
        own[:rows, here] = y
        past = own[:rows, max(since - self.base, 0) : here + 1]
        scores = torch.bmm(reach.transpose(0, 1), past.transpose(1, 2))
        if since >= self.base:
            return torch.bmm(scores.softmax(dim=-1), past), None
        keys, values = (kind[:, since : self.base] for kind in self.shared[layer])
        shared_scores = torch.bmm(query.float(), keys.float().transpose(1, 2))
        weights = torch.cat([shared_scores.transpose(0, 1), scores], dim=-1).softmax(dim=-1)
        shared_weights, own_weights = weights.split([keys.shape[1], past.shape[1]], dim=-1)
        shared_sum = torch.bmm(shared_weights.transpose(0, 1), values.float())
        return torch.bmm(own_weights, past), shared_sum


class SharedPrefixSteps(Steps):
    """Rows in blocks; a block reads its prefix from one place and adds what its rows decoded."""

    def __init__(
        self,
        reader: GPTNeoReader,
        prefix: list[LayerStates],
        sequence: Tensor,
        start: Tensor,
    ):
        self.reader = reader
        self.blocks = []
        plan = plan_blocks(sequence.tolist(), start.tolist())
        for rows, shares in plan:
            members, starts = sequence[rows], start[rows].tolist()
            base, last, one = starts[0] if shares else 0, starts[-1], int(members[0])
            own = []
            for *_, inputs in prefix:
                buffer = inputs.new_empty(len(rows), inputs.shape[1] - base, inputs.shape[-1])
                buffer[:, : last - base] = inputs[members, base:last]
                own.append(buffer)
            shared = [(keys[one], values[one]) for keys, values, _ in prefix]
            self.blocks.append(Block(starts, base, shared, own))
        self.order = torch.tensor([row for rows, _ in plan for row in rows], device=start.device)

    @override
    def active(self, position: int) -> Tensor:
        spans, first = [], 0
        for block in self.blocks:
            spans.append(torch.arange(first, first + bisect_right(block.starts, position)))
            first += len(block.starts)
        return torch.cat(spans).to(self.order.device)

    @override
    def step(self, position: int, token: Tensor) -> Tensor:
        x = self.reader.embed(token[:, None], position)[:, 0]
        parts, first = [], 0
        for block in self.blocks:
            count = bisect_right(block.starts, position)
            if count:
                parts.append((block, slice(first, first + count)))
            first += count
        for index, layer in enumerate(self.reader.layers):
            y = layer.block.ln_1(x)
            query = layer.split(layer.query(y))
            reach = torch.bmm(query.float(), layer.key_heads)
            y, since = y.float(), layer.first_seen(position)
            sums, shared = [], []
            for block, rows in parts:
                own_sum, shared_sum = block.attend(
                    index, position, since, y[rows], query[:, rows], reach[:, rows]
                )
                sums.append(own_sum)
                shared.append(shared_sum)
            whole = sums[0] if len(sums) == 1 else torch.cat(sums)
            attended = torch.bmm(whole.transpose(0, 1), layer.value_heads.transpose(1, 2))
            for (_, rows), shared_sum in zip(parts, shared, strict=True):
                if shared_sum is not None:
                    attended[:, rows] += shared_sum
            x = layer.finish(x, attended.transpose(0, 1).to(x.dtype))
        return self.reader.model.transformer.ln_f(x)

    @override
    def keep(self, rows: Tensor) -> None:
        wanted = rows.tolist()
        blocks, first = [], 0
        for block in self.blocks:
            last = first + len(block.starts)
            mine = [row - first for row in wanted if first <= row < last]
            first = last
            if mine:
                block.starts = [block.starts[row] for row in mine]
                index = torch.tensor(mine, device=rows.device)
                block.own = [inputs[index] for inputs in block.own]
                blocks.append(block)
        self.blocks = blocks


def plan_blocks(sequence: list[int], start: list[int]) -> list[tuple[list[int], bool]]:
    """Blocks of row indices, each ordered by start, and whether the block shares a prefix."""
    members: dict[int, list[int]] = {}
    for row in sorted(range(len(start)), key=start.__getitem__):
        members.setdefault(sequence[row], []).append(row)
    plan, pool = [], []
    for rows in members.values():
        if len(rows) < POOLED_BELOW:
            pool += rows
            continue
        size = -(-len(rows) // max(1, round(len(rows) / SHARED_ROWS)))
        plan += [(rows[i : i + size], True) for i in range(0, len(rows), size)]
    if pool:
        plan.append((sorted(pool, key=start.__getitem__), False))
    return plan
