"""Greedy continuations of every prefix, decoded together, and the n-grams they share with the text.

Let x_0..x_{T-1} be a sequence and C_t the greedy continuation of its first t tokens, up to
position T-1. Where the greedy token after x_<t is x_t itself, C_t is x_t followed by C_{t+1}. So
a sequence falls into chains of prefixes: each chain ends at a position m where greedy decoding
leaves the text (or ends it), all its continuations end in C_m, and only C_m has to be decoded,
starting from a first token that the teacher-forced pass has already given.

All rows (one per chain) sweep together by absolute position: at position p every live row has
exactly p + 1 tokens, so there is no padding and no mask. A row that can no longer complete an
n-gram of the text leaves the batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

NOTHING = -1  # stands for "no token": equal to none


@dataclass(frozen=True)
class Chains:
    """R chains of prefixes of S sequences, ordered by the position where they leave the text.

    Attributes:
        sequence: (R,) row of the sequence table.
        begin: (R,) shortest prefix length of the chain.
        leave: (R,) m, its longest prefix length, where the continuation is no longer the text.
        text: (R, T) tokens: x_<m, then the greedy token at m, then NOTHING.
        ended: (R,) bool, the token at m ends the continuation.
    """

    sequence: Tensor
    begin: Tensor
    leave: Tensor
    text: Tensor
    ended: Tensor

    def take(self, rows: Tensor | slice) -> "Chains":
        """Some of the chains."""
        return Chains(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.sequence)


def find_chains(tokens: Tensor, greedy: Tensor, end_tokens: Tensor) -> Chains:
    """Cut sequences (S, T) into chains, given the greedy next tokens (S, T-1).

    A chain that follows the text to its end leaves at m = T and has nothing to decode.
    """
    count, length = tokens.shape
    ends = torch.isin(greedy, end_tokens)
    stops = torch.ones(count, length, dtype=torch.bool, device=tokens.device)
    stops[:, :-1] = (greedy != tokens[:, 1:]) | ends
    leave, sequence = stops.T.nonzero(as_tuple=True)  # ordered by position
    leave = leave + 1
    position = torch.arange(1, length + 1, device=tokens.device)
    # the stop before: a running maximum over stopped positions, shifted by one
    last = torch.where(stops, position, 0).cummax(dim=1).values
    begin = torch.nn.functional.pad(last, (1, 0))[sequence, leave - 1] + 1
    text = torch.where(
        torch.arange(length, device=tokens.device) < leave[:, None], tokens[sequence], NOTHING
    )
    open_ended = (leave < length).nonzero()[:, 0]
    first = greedy[sequence[open_ended], leave[open_ended] - 1]
    text[open_ended, leave[open_ended]] = first
    ended = leave >= length
    ended[open_ended] = torch.isin(first, end_tokens)
    return Chains(sequence, begin, leave, text, ended)


def extend_matches(matches: Tensor, token: Tensor, truth: Tensor) -> Tensor:
    """One more token of each row against its true sequence.

    Args:
        matches: (R, T) entry j: how many of the row's last tokens equal those ending at x_j.
        token: (R,) next token of the row.
        truth: (R, T) the sequence.

    Returns:
        The same, one token on.
    """
    longer = torch.ones_like(matches)
    longer[:, 1:] += matches[:, :-1]
    return longer * (truth == token[:, None])


def count_matches(chains: Chains, truth: Tensor, n: int, count: int) -> Tensor:
    """(S, T-n) number of n-grams of each continuation that occur in its true suffix.

    Column t - 1 belongs to the prefix of t tokens; `truth` is (R, T), `count` is S.

    An n-gram of a chain's text that starts at s belongs to the continuations of the prefixes
    t <= min(s, m), and it counts for those whose suffix holds it: t <= L, the start of its last
    occurrence in the sequence. So it counts for t = begin..min(s, m, L).
    """
    rows, length = truth.shape
    columns = length - n + 2
    difference = torch.zeros(count * columns, dtype=torch.int32, device=truth.device)
    if rows:
        place = torch.arange(1, length + 1, dtype=torch.int16, device=truth.device)
        matches = torch.zeros(rows, length, dtype=torch.int16, device=truth.device)
        reaches = []
        for end in range(length):
            matches = extend_matches(matches, chains.text[:, end], truth)
            if end >= n - 1:
                last = ((matches >= n) * place).amax(dim=1).long() - n
                reaches.append(last.clamp(max=end - n + 1).minimum(chains.leave))
        reach = torch.stack(reaches, dim=1)
        counts = reach >= chains.begin[:, None]
        row, _ = counts.nonzero(as_tuple=True)
        offset = chains.sequence[row] * columns
        one = torch.ones_like(row, dtype=torch.int32)
        difference.index_add_(0, offset + chains.begin[row], one)
        difference.index_add_(0, offset + reach[counts] + 1, -one)
    return difference.view(count, columns).cumsum(dim=1)[:, 1:-1]


def can_still_match(matches: Tensor, chains: Chains, position: int, n: int) -> Tensor:
    """(R,) whether tokens from `position` on can still complete an n-gram of the text.

    Before T-n a whole n-gram still fits. After it, one must already have begun: l < n known
    tokens that are the beginning of an n-gram of the sequence, at or after the chain's begin.
    """
    length = matches.shape[1]
    place = torch.arange(length, device=matches.device)
    known = torch.minimum(
        matches.long().clamp(max=n - 1), place - chains.begin[:, None] + 1
    ).minimum((position - chains.begin)[:, None])
    fits = (known >= position - (length - n)) & (place - known + 1 <= length - n)
    return fits.any(dim=1)


class CachedSteps:
    """Decoding steps through the model's own forward pass and a preallocated cache per row."""

    def __init__(self, model: PreTrainedModel, tokens: Tensor):
        """Compute the keys and values of all prefixes of `tokens` (S, T), once."""
        self.model = model
        prefix = DynamicCache()
        model.base_model(tokens, past_key_values=prefix, use_cache=True)
        self.prefix = [(layer.keys, layer.values) for layer in prefix.layers]

    def open(self, sequence: Tensor, start: Tensor, length: int) -> None:
        """Make room for rows; row r continues the first `start[r]` tokens of a sequence."""
        self.sequence, self.start, self.joined = sequence, start, 0
        self.layers = [RowLayer(keys, values, len(start), length) for keys, values in self.prefix]

    def step(self, position: int, text: Tensor) -> Tensor:
        """Logits (k, V) after the k rows of `text`, of which position + 1 tokens are known."""
        rows = len(text)
        for layer, (keys, values) in zip(self.layers, self.prefix, strict=True):
            if rows > self.joined:
                new = slice(self.joined, rows)
                layer.fill(new, keys, values, self.sequence[new], position)
            layer.rows, layer.position = rows, position
        self.joined = rows
        output = self.model(
            text[:, position : position + 1],
            past_key_values=Cache(layers=self.layers),
            use_cache=True,
        )
        return output.logits[:, -1].float()

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        self.sequence, self.start = self.sequence[rows], self.start[rows]
        self.joined = int((rows < self.joined).sum())
        for layer in self.layers:
            layer.stored = tuple(stored[rows] for stored in layer.stored)


class RowLayer(DynamicLayer):
    """One layer's keys and values in buffers of full length, of which a corner is in use."""

    def __init__(self, keys: Tensor, values: Tensor, rows: int, length: int):
        super().__init__()
        self.stored = tuple(
            kind.new_empty(rows, kind.shape[1], length, kind.shape[3]) for kind in (keys, values)
        )
        self.is_initialized = True
        self.rows = self.position = 0

    def fill(
        self, new: slice, keys: Tensor, values: Tensor, sequence: Tensor, position: int
    ) -> None:
        for stored, kind in zip(self.stored, (keys, values), strict=True):
            stored[new, :, :position] = kind[sequence, :, :position]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        until = self.position + 1
        for stored, states in zip(self.stored, (key_states, value_states), strict=True):
            stored[: self.rows, :, self.position : until] = states
        return tuple(stored[: self.rows, :, :until] for stored in self.stored)

    def get_seq_length(self) -> int:
        return self.position


def decode(steps: CachedSteps, chains: Chains, truth: Tensor, n: int, ends: Tensor) -> Tensor:
    """Fill in the continuations of `chains.text`, in place, as far as they can matter.

    Args:
        steps: the model's decoding steps, holding the prefixes of all sequences.
        chains: rows to decode, ordered by position, none of them ended.
        truth: (R, T) their sequences.
        n: length of the n-grams that matter.
        ends: tokens that end a continuation.

    Returns:
        (R,) bool, all logits met on the way were finite.
    """
    length = truth.shape[1]
    finite = torch.ones(len(chains), dtype=torch.bool, device=truth.device)
    text = chains.text
    live = torch.arange(len(chains), device=truth.device)
    starts = chains.leave.tolist()
    steps.open(chains.sequence, chains.leave, length)
    position = 0
    while len(live):
        position = max(position, starts[0])
        if position >= length - 1:
            break
        rows = sum(start <= position for start in starts)
        active = live[:rows]
        top, token = steps.step(position, text[active]).max(dim=-1)
        text[active, position + 1] = token
        finite[active] &= top.isfinite()
        position += 1
        stay = torch.ones(len(live), dtype=torch.bool, device=truth.device)
        stay[:rows] = top.isfinite() & ~torch.isin(token, ends)
        if position >= length - n:
            some = chains.take(live)
            stay &= can_still_match(
                recent_matches(text[live], truth[live], position, n), some, position + 1, n
            ) | (some.leave > position)
        if not stay.all():
            kept = stay.nonzero()[:, 0]
            steps.keep(kept)
            live = live[kept]
            starts = [starts[row] for row in kept.tolist()]
    return finite


def recent_matches(text: Tensor, truth: Tensor, position: int, n: int) -> Tensor:
    """Match lengths (see `extend_matches`) up to n of the rows' tokens up to `position`."""
    matches = torch.zeros_like(truth, dtype=torch.int16)
    for end in range(max(0, position - n + 1), position + 1):
        matches = extend_matches(matches, text[:, end], truth)
    return matches


def end_tokens(model: PreTrainedModel, device: torch.device) -> Tensor:
    """Ids at which the model's own `generate` stops."""
    ends = getattr(model, "generation_config", model.config).eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    return torch.tensor(ends, dtype=torch.int64, device=device)


def prefix_matches(
    model: PreTrainedModel, tokens: Tensor, greedy: Tensor, n: int, memory_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count, for each prefix, the n-grams of its continuation that occur in the true suffix.

    Args:
        model: a causal language model.
        tokens: (N, T) token ids.
        greedy: (N, T-1) greedy next tokens of the teacher-forced pass.
        n: length of the n-grams.
        memory_bytes: bound on the key-value caches.

    Returns:
        (N, T-n) int array, column t - 1 for the prefix of t tokens; and (N,) bool, whether all
        logits met while decoding were finite.
    """
    count, length = tokens.shape
    ends = end_tokens(model, tokens.device)
    matches = tokens.new_zeros(count, length - n)
    finite = torch.ones(count, dtype=torch.bool, device=tokens.device)
    for group in torch.arange(count, device=tokens.device).split(64):
        chains = find_chains(tokens[group], greedy[group], ends)
        chains = chains.take(chains.begin <= length - n)
        truth = tokens[group][chains.sequence]
        todo = ~chains.ended
        late = (todo & (chains.leave >= length - n)).nonzero()[:, 0]
        for row in late.tolist():
            one = chains.take(slice(row, row + 1))
            at = int(one.leave)
            known = recent_matches(one.text, truth[row : row + 1], at, n)
            todo[row] = can_still_match(known, one, at + 1, n)[0]
        todo = todo.nonzero()[:, 0]
        if len(todo):
            steps = CachedSteps(model, tokens[group])
            for part in todo.split(256):
                some = chains.take(part)
                good = decode(steps, some, truth[part], n, ends)
                chains.text[part] = some.text
                finite[group[some.sequence[~good]]] = False
        matches[group] = count_matches(chains, truth, n, len(group)).long()
    return matches.cpu().numpy(), finite.cpu().numpy()
