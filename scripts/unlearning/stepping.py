"""Running a causal language model over whole sequences, and then on from any of their prefixes.

Two readers give the same two things. `read` runs true sequences once and keeps the keys and
values of all their prefixes. `open` starts rows, each from a prefix of its own, and `step` moves
them on by one token; all rows of a step stand at the same absolute position, so nothing is padded
and nothing is masked.

`LibraryReader` takes any architecture through its own forward pass: every row holds a copy of its
prefix. `GPTNeoReader` is the same mathematics written out for GPT-Neo, which transformers runs
only with its slowest attention: rows of one sequence attend to one copy of the prefix by a matrix
product, and hold only what they have decoded themselves.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel
from transformers.activations import NewGELUActivation
from transformers.cache_utils import Cache, DynamicLayer
from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoForCausalLM, GPTNeoSelfAttention
from typing_extensions import override

LayerStates = tuple[Tensor, Tensor]  # keys and values, (rows, heads, positions, width) each


def reader_of(model: PreTrainedModel) -> "Reader":
    """The fastest reader that is exact for this model."""
    return GPTNeoReader(model) if GPTNeoReader.fits(model) else LibraryReader(model)


class Reader:
    """What both readers share: from hidden states to logits, a slice at a time."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.head = model.get_output_embeddings()
        self._bytes = None

    def hidden(self, tokens: Tensor) -> Tensor:
        """Last hidden states (B, L, width) of token rows (B, L)."""
        raise NotImplementedError

    def read(self, tokens: Tensor) -> tuple[Tensor, list[LayerStates]]:
        """The same, and the keys and values of every layer."""
        raise NotImplementedError

    def open(
        self, prefix: list[LayerStates], sequence: Tensor, start: Tensor, length: int
    ) -> "Steps":
        """Start R rows.

        Args:
            prefix: keys and values of S true sequences, from `read`.
            sequence: (R,) which of them a row continues.
            start: (R,) how many of its tokens the row keeps.
            length: tokens of a finished row.
        """
        raise NotImplementedError

    def bytes_per_token(self) -> int:
        """Size of the keys and values of one token, all layers."""
        if self._bytes is None:
            _, states = self.read(torch.zeros(1, 1, dtype=torch.int64, device=self.model.device))
            self._bytes = sum(kind.nbytes for pair in states for kind in pair)
        return self._bytes

    def logits(self, hidden: Tensor) -> Iterator[Tensor]:
        """Slices (c, V) of the float32 logits of hidden states (n, width).

        Slices keep long vocabularies from filling the memory; on a CPU, small ones stay in the
        processor's cache.
        """
        bound = 2**22 if hidden.device.type == "cpu" else 2**28
        size = max(16, bound // (4 * self.model.config.vocab_size))
        for part in hidden.split(size):
            yield self.head(part).float()

    def greedy(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Greatest logit (n,) and its token (n,) for hidden states (n, width)."""
        tops, tokens = zip(*(slab.max(dim=-1) for slab in self.logits(hidden)), strict=True)
        return torch.cat(tops), torch.cat(tokens)


class Steps:
    """Rows under way, in an order that suits how they are stored.

    Attributes:
        order: (R,) the rows as given to `open`, in that order. Everything else counts rows in it.
    """

    order: Tensor

    def active(self, position: int) -> Tensor:
        """Rows (k,) that have a token at `position`, ascending."""
        raise NotImplementedError

    def step(self, position: int, token: Tensor) -> Tensor:
        """Hidden states (k, width) after `token` (k,) of the active rows at `position`."""
        raise NotImplementedError

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (indices, ascending); they are renumbered."""
        raise NotImplementedError


class LibraryReader(Reader):
    """Any architecture, through transformers' forward pass and cache."""

    def __init__(self, model: PreTrainedModel):
        super().__init__(model)
        self.body = model.base_model
        if not self._head_is_last():
            self.body, self.head = self._whole, torch.nn.Identity()

    def _head_is_last(self) -> bool:
        """Whether logits are exactly head(body(tokens)): some architectures scale or cap them."""
        if self.head is None or self.body is self.model:
            return False
        probe = torch.zeros(1, 2, dtype=torch.int64, device=self.model.device)
        split = self.head(self.body(probe, use_cache=False).last_hidden_state)
        return torch.equal(split, self.model(probe, use_cache=False).logits)

    def _whole(self, tokens: Tensor, **options: object) -> object:
        output = self.model(tokens, **options)
        output.last_hidden_state = output.logits
        return output

    @override
    def hidden(self, tokens: Tensor) -> Tensor:
        return self.body(tokens, use_cache=False).last_hidden_state

    @override
    def read(self, tokens: Tensor) -> tuple[Tensor, list[LayerStates]]:
        # a cache made without the config keeps every position, whatever window a layer has
        cache = DynamicCache()
        hidden = self.body(tokens, past_key_values=cache, use_cache=True).last_hidden_state
        return hidden, [(layer.keys, layer.values) for layer in cache.layers]

    @override
    def open(
        self, prefix: list[LayerStates], sequence: Tensor, start: Tensor, length: int
    ) -> "Steps":
        return LibrarySteps(self.body, prefix, sequence, start, length)


class LibrarySteps(Steps):
    """One full-length cache per row, filled with the row's prefix."""

    def __init__(
        self,
        body: Callable[..., object],
        prefix: list[LayerStates],
        sequence: Tensor,
        start: Tensor,
        length: int,
    ):
        self.body = body
        self.order = start.argsort(stable=True)
        self.starts = start[self.order].tolist()
        self.layers = [
            RowLayer(states, sequence[self.order], self.starts[-1], length) for states in prefix
        ]

    @override
    def active(self, position: int) -> Tensor:
        return torch.arange(bisect_right(self.starts, position), device=self.order.device)

    @override
    def step(self, position: int, token: Tensor) -> Tensor:
        for layer in self.layers:
            layer.position = position
        cache = Cache(layers=self.layers)
        output = self.body(token[:, None], past_key_values=cache, use_cache=True)
        return output.last_hidden_state[:, 0]

    @override
    def keep(self, rows: Tensor) -> None:
        self.starts = [self.starts[row] for row in rows.tolist()]
        for layer in self.layers:
            layer.stored = [stored[rows] for stored in layer.stored]


class RowLayer(DynamicLayer):
    """One layer's keys and values in buffers of full length, of which one corner is in use."""

    def __init__(self, states: LayerStates, sequence: Tensor, filled: int, length: int):
        super().__init__()
        self.stored = [own_states(kind, sequence, 0, filled, length) for kind in states]
        self.is_initialized = True
        self.position = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Put one more position into the first rows, return all their positions."""
        rows = len(key_states)
        for stored, states in zip(self.stored, (key_states, value_states), strict=True):
            stored[:rows, :, self.position] = states[:, :, 0]
        keys, values = (stored[:rows, :, : self.position + 1] for stored in self.stored)
        return keys, values

    def get_seq_length(self) -> int:
        """Positions filled before the step."""
        return self.position


def own_states(kind: Tensor, sequence: Tensor, base: int, filled: int, length: int) -> Tensor:
    """A buffer (R, heads, length - base, width) that holds each row's prefix from `base` on.

    It is filled up to position `filled`; what lies behind a row's own start is overwritten as
    the row reaches it, before it is read.
    """
    buffer = kind.new_empty(len(sequence), kind.shape[1], length - base, kind.shape[3])
    buffer[:, :, : filled - base] = kind[sequence, :, base:filled]
    return buffer


class GPTNeoReader(Reader):
    """GPT-Neo written out: causal attention without scaling, windows in the local layers."""

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Whether `model` is plain GPT-Neo, nothing replaced inside."""
        return type(model) is GPTNeoForCausalLM and all(
            type(block.attn.attention) is GPTNeoSelfAttention for block in model.transformer.h
        )

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
        return self.read(tokens)[0]

    @override
    def read(self, tokens: Tensor) -> tuple[Tensor, list[LayerStates]]:
        x = self.embed(tokens, 0)
        states = []
        for layer in self.layers:
            query, key, value = layer.project(x)  # (B, L, heads, width) each
            query, key, value = (part.transpose(1, 2) for part in (query, key, value))
            x = layer.finish(x, layer.attend_causally(query, key, value).transpose(1, 2))
            states.append((key, value))
        return self.model.transformer.ln_f(x), states

    @override
    def open(
        self, prefix: list[LayerStates], sequence: Tensor, start: Tensor, length: int
    ) -> "Steps":
        return SharedPrefixSteps(self, prefix, sequence, start, length)


class NeoLayer:
    """One block of GPT-Neo, apart from where its keys and values are kept."""

    def __init__(self, block: torch.nn.Module, heads: int, window: int):
        attention = block.attn.attention
        self.block, self.heads = block, heads
        self.window = window if attention.attention_type == "local" else None
        self.into = torch.cat(
            [p.weight for p in (attention.q_proj, attention.k_proj, attention.v_proj)]
        )
        self.out = attention.out_proj
        # the same function as transformers' gelu_new, in one pass over memory instead of eight
        tanh_gelu = isinstance(block.mlp.act, NewGELUActivation)
        self.act = (
            (lambda x: functional.gelu(x, approximate="tanh")) if tanh_gelu else block.mlp.act
        )

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of hidden states (..., width), (..., heads, head width) each."""
        joint = functional.linear(self.block.ln_1(x), self.into)
        return joint.unflatten(-1, (3, self.heads, -1)).unbind(-3)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block's output from its input and what its heads attended to."""
        x = x + self.out(attended.flatten(-2))
        mlp = self.block.mlp
        return x + mlp.c_proj(self.act(mlp.c_fc(self.block.ln_2(x))))

    def attend_causally(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of whole sequences, (B, heads, L, width) each."""
        length = query.shape[2]
        if self.window is None or self.window >= length:
            return functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=1.0
            )
        seen = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        seen &= ~seen.tril(-self.window)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=1.0)

    def first_seen(self, position: int) -> int:
        """The earliest position that a token at `position` attends to."""
        return 0 if self.window is None else max(0, position + 1 - self.window)


SHARED_ROWS = 64  # rows of one sequence that share a prefix; more share more but copy more
POOLED_BELOW = 16  # a sequence with fewer rows shares nothing: its products would be too small


@dataclass
class Block:
    """Rows that are attended to together: of one sequence, or of several that share nothing.

    Attributes:
        starts: the rows' starts, ascending.
        base: positions before it are read from the shared prefix; 0 if nothing is shared.
        shared: per layer the keys and values of the shared prefix, (heads, T, width) each.
        own: per layer the rows' own from `base` on, (rows, heads, T - base, width) each.
    """

    starts: list[int]
    base: int
    shared: list[LayerStates]
    own: list[LayerStates]

    def attend(
        self, layer: int, position: int, since: int, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """Attention of the first a rows over positions `since`..`position`.

        Query, key and value of `position` are (a, heads, width) each, and so is the result.
        """
        rows, heads, width = query.shape
        own_keys, own_values = self.own[layer]
        here = position - self.base
        own_keys[:rows, :, here], own_values[:rows, :, here] = key, value
        window = slice(max(since - self.base, 0), here + 1)
        keys = own_keys[:rows, :, window].flatten(0, 1)
        values = own_values[:rows, :, window].flatten(0, 1)
        own_scores = scores(query.reshape(rows * heads, 1, width), keys)
        if since >= self.base:
            return (own_scores.softmax(dim=-1).to(value.dtype) @ values).view(rows, heads, width)
        shared_keys, shared_values = (kind[:, since : self.base] for kind in self.shared[layer])
        shared_scores = scores(query.transpose(0, 1), shared_keys)
        split = self.base - since
        both = own_scores.new_empty(rows, heads, split + own_scores.shape[-1])
        both[:, :, :split] = shared_scores.transpose(0, 1)
        both[:, :, split:] = own_scores.view(rows, heads, -1)
        weights = both.softmax(dim=-1).to(value.dtype)
        own_part = torch.bmm(weights.flatten(0, 1)[:, None, split:], values)
        shared_part = torch.bmm(weights[:, :, :split].transpose(0, 1), shared_values)
        return own_part.view(rows, heads, width).add_(shared_part.transpose(0, 1))


def scores(query: Tensor, keys: Tensor) -> Tensor:
    """Products of queries (b, n, width) and keys (b, L, width), in float32 as the model has it."""
    return torch.bmm(query.float(), keys.float().transpose(1, 2))


class SharedPrefixSteps(Steps):
    """Rows in blocks; a block reads its prefix from one place and adds what its rows decoded."""

    def __init__(
        self,
        reader: GPTNeoReader,
        prefix: list[LayerStates],
        sequence: Tensor,
        start: Tensor,
        length: int,
    ):
        self.reader = reader
        self.blocks = []
        plan = plan_blocks(sequence.tolist(), start.tolist())
        for rows, shares in plan:
            members = sequence[rows]
            starts = start[rows].tolist()
            base = starts[0] if shares else 0
            own = [
                tuple(own_states(kind, members, base, starts[-1], length) for kind in states)
                for states in prefix
            ]
            one = int(members[0])
            shared = [tuple(kind[one] for kind in states) for states in prefix]
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
            query, key, value = layer.project(x)
            since = layer.first_seen(position)
            attended = [
                block.attend(index, position, since, query[rows], key[rows], value[rows])
                for block, rows in parts
            ]
            x = layer.finish(x, torch.cat(attended))
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
                block.own = [tuple(kind[index] for kind in states) for states in block.own]
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
