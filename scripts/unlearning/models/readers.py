"""Running a causal language model over whole sequences, and then on from any of their prefixes.

A reader gives two things. `read` runs true sequences once and keeps what their prefixes leave
behind for later tokens. `open` starts rows, each from a prefix of its own, and `step` moves them
on by one token; all rows of a step stand at the same absolute position, so nothing is padded and
nothing is masked.

`LibraryReader` takes any architecture through its own forward pass; every row holds a copy of its
prefix's keys and values, or its tokens where the architecture keeps no keys and values. Module
`gpt_neo` has a faster reader for that architecture.
"""

import inspect
from bisect import bisect_right
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer
from typing_extensions import override

# what a layer keeps of S sequences, usually keys and values (S, heads, T, width) each
LayerStates = tuple[Tensor, ...]

BLOCK = 256  # tokens; in a search for the greatest logit
# kinds of layers that keep keys and values; convolutions and the like keep something else
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


class Reader:
    """A model to be run; what all readers share is the way from hidden states to logits."""

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self.head = model.get_output_embeddings()
        self._bytes = None

    def hidden(self, tokens: Tensor) -> Tensor:
        """Last hidden states (B, L, width) of token rows (B, L)."""
        raise NotImplementedError

    def read(self, tokens: Tensor) -> tuple[Tensor, list[LayerStates]]:
        """The same, and what every layer keeps for later tokens."""
        raise NotImplementedError

    def open(self, prefix: list[LayerStates], sequence: Tensor, start: Tensor) -> "Steps":
        """Start R rows; finished, they are as long as the sequences.

        Args:
            prefix: what the layers keep of S true sequences, from `read`.
            sequence: (R,) which of them a row continues.
            start: (R,) how many of its tokens the row keeps.
        """
        raise NotImplementedError

    @torch.no_grad()
    def bytes_per_token(self) -> int:
        """Size of what `read` gives back for one token."""
        if self._bytes is None:
            token = torch.zeros(1, 1, dtype=torch.int64, device=self.model.device)
            hidden, prefix = self.read(token)
            self._bytes = hidden.nbytes + sum(kind.nbytes for states in prefix for kind in states)
        return self._bytes

    def logits(self, hidden: Tensor) -> Iterator[Tensor]:
        """Slices (c, V) of the float32 logits of hidden states (n, width).

        Slices keep long vocabularies from filling the memory (`slice_rows`). They share one place
        where they can: a slice may be overwritten, and is gone when the next one comes. (Memory
        that is new for each slice takes a CPU longer to get than to fill.)
        """
        head = self.head
        vocabulary = self.model.get_input_embeddings().num_embeddings
        width = hidden.shape[-1] if isinstance(head, torch.nn.Linear) else 0  # or logits already
        size = slice_rows(hidden.device, vocabulary, width)
        if not is_matrix(head) or hidden.dtype != torch.float32:
            for part in hidden.split(size):
                yield head(part).float()
            return
        place = hidden.new_empty(min(size, len(hidden)), len(head.weight))
        for part in hidden.split(size):
            yield torch.mm(part, head.weight.T, out=place[: len(part)])

    def greedy(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Greatest logit (n,) and its token (n,) for hidden states (n, width)."""
        tops, tokens = zip(*map(greatest, self.logits(hidden)), strict=True)
        return torch.cat(tops), torch.cat(tokens)


def is_matrix(head: torch.nn.Module | None) -> bool:
    """Whether a head is one plain float32 matrix: logits are hidden states times its transpose."""
    return (
        type(head) is torch.nn.Linear and head.bias is None and head.weight.dtype == torch.float32
    )


@torch.no_grad()
def head_is_last(model: PreTrainedModel) -> bool:
    """Whether logits are exactly head(body(tokens)): some architectures scale or cap them."""
    body, head = model.base_model, model.get_output_embeddings()
    if head is None or body is model:
        return False
    # a padding token among them may have an embedding of zeros, which no cap changes
    tokens = min(4, model.get_input_embeddings().num_embeddings)
    probe = torch.arange(tokens, device=model.device)[None]
    split = head(body(probe, use_cache=False).last_hidden_state)
    return torch.equal(split, model(probe, use_cache=False).logits)


def slice_rows(device: torch.device, vocabulary: int, width: int) -> int:
    """How many rows of logits to hold at a time.

    On a CPU so few that they stay in the processor's cache, but with wide hidden states more, as
    each slice reads the head's whole matrix again.
    """
    if device.type != "cpu":
        return max(16, 2**28 // (4 * vocabulary))
    return max(16, 2**22 // (4 * vocabulary), width // 4)


def greatest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest logit (c,) and its token (c,) of logits (c, V); the lowest token among equals.

    A search for both at once runs, on a CPU, at half the speed of one for the value alone. So the
    values of blocks come first, and tokens are looked at in the best block only.
    """
    count, vocabulary = logits.shape
    blocks = vocabulary // BLOCK
    if logits.device.type != "cpu" or blocks < 2:
        return logits.max(dim=-1)
    table = logits[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK))
    top, best = table.amax(dim=-1).max(dim=-1)
    token = best * BLOCK + table[torch.arange(count), best].argmax(dim=-1)
    if blocks * BLOCK < vocabulary:
        last, place = logits[:, blocks * BLOCK :].max(dim=-1)
        # a value that is no number is the greatest, and the first of several is meant
        later = ~top.isnan() & ((last > top) | last.isnan())
        top, token = top.where(~later, last), token.where(~later, blocks * BLOCK + place)
    return top, token


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

    @torch.no_grad()
    def __init__(self, model: PreTrainedModel):
        super().__init__(model)
        self.body = model.base_model
        if not self.splits():
            self.body, self.head = self.whole, torch.nn.Identity()
        self.cached = self._keeps_keys_and_values()

    def splits(self) -> bool:
        """Whether the model can be run in two parts, the body and the head."""
        return head_is_last(self.model)

    def _keeps_keys_and_values(self) -> bool:
        """Whether all that a prefix leaves behind is one key and value per token and layer."""
        accepts = inspect.signature(self.model.base_model.forward).parameters
        if self.model._is_stateful or "past_key_values" not in accepts:
            return False
        if not ATTENTION.issuperset(getattr(self.model.config, "layer_types", None) or ()):
            return False
        _, prefix = self._read_cached(
            torch.zeros(1, 2, dtype=torch.int64, device=self.model.device)
        )
        return len(prefix) > 0 and all(
            kind is not None and kind.ndim == 4 and kind.shape[2] == 2
            for states in prefix
            for kind in states
        )

    def whole(self, tokens: Tensor, **options: object) -> object:
        """A body whose hidden states are the logits themselves."""
        output = self.model(tokens, **options)
        output.last_hidden_state = output.logits
        return output

    @override
    def hidden(self, tokens: Tensor) -> Tensor:
        return self.body(tokens, use_cache=False).last_hidden_state

    def _read_cached(self, tokens: Tensor) -> tuple[Tensor, list[LayerStates]]:
        # a cache made without the config keeps every position, whatever window a layer has
        cache = DynamicCache()
        hidden = self.body(tokens, past_key_values=cache, use_cache=True).last_hidden_state
        return hidden, [(layer.keys, layer.values) for layer in cache.layers]

    @override
    def read(self, tokens: Tensor) -> tuple[Tensor, list[LayerStates]]:
        return self._read_cached(tokens) if self.cached else (self.hidden(tokens), [(tokens,)])

    @override
    def open(self, prefix: list[LayerStates], sequence: Tensor, start: Tensor) -> "Steps":
        steps = LibrarySteps if self.cached else RepeatedSteps
        return steps(self.body, prefix, sequence, start)


class RowSteps(Steps):
    """Rows ordered by start, so that the active ones come first."""

    def __init__(self, sequence: Tensor, start: Tensor):
        self.order = start.argsort(stable=True)
        self.sequence = sequence[self.order]
        self.starts = start[self.order].tolist()

    @override
    def active(self, position: int) -> Tensor:
        return torch.arange(bisect_right(self.starts, position), device=self.order.device)

    @override
    def keep(self, rows: Tensor) -> None:
        self.starts = [self.starts[row] for row in rows.tolist()]


class RepeatedSteps(RowSteps):
    """Steps that run the whole row again: slow, for architectures without keys and values."""

    def __init__(
        self,
        body: Callable[..., object],
        prefix: list[LayerStates],
        sequence: Tensor,
        start: Tensor,
    ):
        super().__init__(sequence, start)
        self.body = body
        self.text = prefix[0][0][self.sequence]

    @override
    def step(self, position: int, token: Tensor) -> Tensor:
        text = self.text[: len(token), : position + 1]
        text[:, position] = token
        return self.body(text, use_cache=False).last_hidden_state[:, -1]

    @override
    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        self.text = self.text[rows]


class CachedSteps(RowSteps):
    """Rows with keys and values of their own, for their full length."""

    def __init__(self, prefix: list[LayerStates], sequence: Tensor, start: Tensor):
        super().__init__(sequence, start)
        self.layers = [RowLayer(states, self.sequence) for states in prefix]

    @override
    def keep(self, rows: Tensor) -> None:
        super().keep(rows)
        for layer in self.layers:
            layer.stored = [kind[rows] for kind in layer.stored]


class LibrarySteps(CachedSteps):
    """Steps through the model's own forward pass."""

    def __init__(self, body: Callable[..., object], *rows: object):
        super().__init__(*rows)
        self.body = body

    @override
    def step(self, position: int, token: Tensor) -> Tensor:
        for layer in self.layers:
            layer.position = position
        cache = Cache(layers=self.layers)
        output = self.body(token[:, None], past_key_values=cache, use_cache=True)
        return output.last_hidden_state[:, 0]


class RowLayer(DynamicLayer):
    """One layer's keys and values in buffers of full length, of which one corner is in use.

    A row's buffer holds its whole sequence: from the row's start on it is overwritten before it is
    read.

    Attributes:
        stored: keys and values, each (rows, heads, length, width).
        position: where the next token goes.
    """

    def __init__(self, states: LayerStates, sequence: Tensor):
        super().__init__()
        self.stored = [kind.index_select(0, sequence) for kind in states[:2]]
        self.is_initialized = True
        self.position = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Put one more position into the first rows, return all their positions."""
        rows = len(key_states)
        for stored, states in zip(self.stored, (key_states, value_states), strict=True):
            stored[:rows, :, self.position] = states[:, :, 0]
        keys, values = (kind[:rows, :, : self.position + 1] for kind in self.stored)
        return keys, values

    def get_seq_length(self) -> int:
        """Positions filled before the step."""
        return self.position
