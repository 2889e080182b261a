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

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unlearning.jobs.progress import progress
from unlearning.models.readers import Reader, Steps

NOTHING = -1  # stands for "no token": equal to none
FRACTIONS = "{l_bar}{bar}| {n:.0f}/{total_fmt} [{elapsed}<{remaining}]"  # of a bar's count


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


def recent_matches(recent: Tensor, truth: Tensor) -> Tensor:
    """Match lengths (see `extend_matches`) of rows whose last tokens are `recent`, (R, any)."""
    matches = torch.zeros_like(truth, dtype=torch.int16)
    for token in recent.T:
        matches = extend_matches(matches, token, truth)
    return matches


def can_still_match(matches: Tensor, chains: Chains, position: Tensor, n: int) -> Tensor:
    """(R,) whether tokens after `position` (R,) can still complete an n-gram of the text.

    Up to T-n-1 a whole n-gram still fits behind it. Later, one must already have begun: the last
    l < n known tokens are the beginning of an n-gram of the sequence, at or after the chain's
    begin, and the n - l tokens that are missing still fit.

    Args:
        matches: (R, T) match lengths of the rows' tokens up to `position`.
        chains: the rows.
        position: of the last known token.
        n: length of the n-grams.
    """
    length = matches.shape[1]
    place = torch.arange(length, device=matches.device)
    known = matches.long().clamp(max=n - 1)
    known = known.minimum(place - chains.begin[:, None] + 1)
    known = known.minimum((position - chains.begin + 1)[:, None])
    long_enough = known >= (position + 1 - (length - n))[:, None]
    fits = place - known + 1 <= length - n
    return (position < length - n) | (long_enough & fits).any(dim=1)


def undecided(chains: Chains, truth: Tensor, n: int) -> Tensor:
    """Indices of the chains that have to be decoded; the others' n-grams are all known."""
    length = truth.shape[1]
    at = chains.leave.clamp(max=length - 1)
    places = at[:, None] + torch.arange(1 - n, 1, device=at.device)
    recent = torch.where(places >= 0, chains.text.gather(1, places.clamp(min=0)), NOTHING)
    hope = can_still_match(recent_matches(recent, truth), chains, at, n)
    return (hope & ~chains.ended & (chains.leave < length - 1)).nonzero()[:, 0]


def decode(
    reader: Reader, steps: Steps, chains: Chains, truth: Tensor, n: int, ends: Tensor
) -> Tensor:
    """Fill in the continuations in `chains.text`, in place, as far as they can matter.

    Args:
        reader: the model.
        steps: its decoding steps, opened for these chains.
        chains: what is to be decoded, in the order of `steps`.
        truth: (R, T) their sequences.
        n: length of the n-grams that matter.
        ends: tokens that end a continuation.

    Returns:
        (R,) bool, all logits met on the way were finite.
    """
    length = truth.shape[1]
    text, device = chains.text, truth.device
    live = torch.arange(len(chains), device=device)
    fed = text.gather(1, chains.leave[:, None])[:, 0]
    ended = torch.zeros_like(live, dtype=torch.bool)
    finite = torch.ones_like(ended)
    matches = None
    for position in range(int(chains.leave.min()), length - 1):
        rows = steps.active(position)
        if len(rows):
            top, token = reader.greedy(steps.step(position, fed[rows]))
            active = live[rows]
            finite[active] &= top.isfinite() | ended[active]
            text[active, position + 1] = token.masked_fill(ended[active], NOTHING)
            fed[rows] = token
            if len(ends):
                ended[active] |= torch.isin(token, ends)
        gone = ended[live]
        if position + 1 >= length - n:
            known = text[live, : position + 2]
            if matches is None:
                matches = recent_matches(known[:, -n:], truth[live])
            else:
                matches = extend_matches(matches, known[:, -1], truth[live])
            some = chains.take(live)
            at = torch.full_like(live, position + 1)
            gone |= ~can_still_match(matches, some, at, n)
        # moving the caches together costs about as much as two steps of the rows that stay
        count = int(gone.sum())
        if count and count * (length - 2 - position) >= 2 * len(live):
            kept = (~gone).nonzero()[:, 0]
            if not len(kept):
                break
            steps.keep(kept)
            live, fed = live[kept], fed[kept]
            matches = None if matches is None else matches[kept]
    return finite


def end_tokens(model: PreTrainedModel) -> Tensor:
    """Ids at which the model's own `generate` stops."""
    ends = getattr(model, "generation_config", model.config).eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    return torch.tensor(ends, dtype=torch.int64, device=model.device)


def prefix_matches(
    reader: Reader, tokens: Tensor, greedy: Tensor | None, n: int, memory_bytes: int
) -> tuple[Tensor, Tensor]:
    """Count, for each prefix, the n-grams of its continuation that occur in the true suffix.

    Args:
        reader: the model.
        tokens: (N, T) token ids.
        greedy: (N, T-1) greedy next tokens of the teacher-forced pass, if already known.
        n: length of the n-grams.
        memory_bytes: bound on the key-value caches held at a time.

    Returns:
        (N, T-n) counts, column t - 1 for the prefix of t tokens; and (N,) bool, whether all
        logits met on the way were finite.
    """
    count, length = tokens.shape
    ends = end_tokens(reader.model)
    matches = tokens.new_zeros(count, length - n)
    finite = torch.ones(count, dtype=torch.bool, device=tokens.device)
    # a quarter of the memory for the true sequences, the rest for the rows that leave them
    row_bytes = length * reader.bytes_per_token()
    some_rows = max(1, memory_bytes * 3 // 4 // row_bytes)
    bar = progress(total=count, desc=f"EL_{n}", unit="sequence", bar_format=FRACTIONS)
    for group in torch.arange(count, device=tokens.device).split(
        max(1, memory_bytes // 4 // row_bytes)
    ):
        text = tokens[group]
        prefix = None
        if greedy is None:
            hidden, prefix = reader.read(text)
            top, guess = reader.greedy(hidden[:, :-1].flatten(0, 1))
            finite[group] = top.view(len(group), -1).isfinite().all(dim=1)
            guess = guess.view(len(group), -1)
        else:
            guess = greedy[group]
        chains = find_chains(text, guess, ends)
        chains = chains.take(chains.begin <= length - n)
        truth = text[chains.sequence]
        todo = undecided(chains, truth, n)
        if prefix is None and len(todo):
            _, prefix = reader.read(text)
        # sequence by sequence, so that the rows of one sequence come together
        todo = todo[chains.sequence[todo].argsort(stable=True)]
        for part in todo.split(some_rows) if len(todo) else ():
            some = chains.take(part)
            steps = reader.open(prefix, some.sequence, some.leave)
            part, some = part[steps.order], some.take(steps.order)
            good = decode(reader, steps, some, truth[part], n, ends)
            chains.text[part] = some.text
            finite[group[some.sequence[~good]]] = False
            bar.update(len(group) * len(part) / len(todo))
        matches[group] = count_matches(chains, truth, n, len(group)).to(matches.dtype)
        if not len(todo):
            bar.update(len(group))
    bar.close()
    return matches, finite
