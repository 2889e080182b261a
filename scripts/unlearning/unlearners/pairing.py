"""Which unseen sequence stands in for a forgotten one, and which of their tokens correspond.

Plain arrays of token ids, no model: `twin` builds on it.
"""

import numpy as np

SUBSTITUTION, GAP = -0.3, -0.4  # against 1 for two equal tokens: what shares a form lines up
DIAGONAL, DOWN, RIGHT = 0, 1, 2


def shared_tokens(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(N, M) how many tokens two rows have in common, repeated ones counted as often as in both.

    Args:
        left: (N, T) token ids.
        right: (M, T) token ids.
    """
    known, index = np.unique(np.concatenate([left, right]), return_inverse=True)
    counts = np.zeros((len(index), len(known)), dtype=np.int32)
    np.add.at(counts, (np.arange(len(index))[:, None], index), 1)
    counts_right = counts[len(left) :]
    return np.stack([np.minimum(row, counts_right).sum(axis=1) for row in counts[: len(left)]])


def assign(likeness: np.ndarray) -> np.ndarray:
    """(N,) a column for each row of `likeness` (N, M): the most alike pair first, each column once.

    A pair of likeness -inf is none; a row has at least one. A column is taken again only when none
    is left that a row without one may take. Equal pairs: the first row, then the first column.
    """
    left = likeness.astype(float)
    chosen = np.empty(len(left), dtype=int)
    free = left.copy()
    for _ in range(len(left)):
        if np.isneginf(free.max()):  # all that may be taken are
            free = left.copy()
        row, column = np.unravel_index(free.argmax(), free.shape)
        chosen[row] = column
        free[row] = left[row] = free[:, column] = -np.inf
    return chosen


def align(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Global alignment of rows pair by pair (Needleman and Wunsch 1970), all pairs at once.

    Args:
        left: (N, L) token ids.
        right: (N, M) token ids.

    Returns:
        partner: (N, L) the index in the right row of the equal token that a token is aligned with,
            -1 where there is none; no index twice in a row.
        place: (N, L) the index in the right row where a token stands by the alignment, whether
            equal or not: the tokens of the right row before it are those already passed, 0..M.
    """
    (pairs, length), width = left.shape, right.shape[1]
    moves = np.empty((length + 1, width + 1, pairs), dtype=np.int8)
    moves[:, 0], moves[0] = DOWN, RIGHT
    above = np.broadcast_to(GAP * np.arange(width + 1)[:, None], (width + 1, pairs))
    for i in range(length):
        match = np.where(left[:, i] == right.T, 1.0, SUBSTITUTION)
        here = np.empty_like(above)
        here[0] = GAP * (i + 1)
        for j in range(width):
            ways = np.stack([above[j] + match[j], above[j + 1] + GAP, here[j] + GAP])
            moves[i + 1, j + 1] = ways.argmax(axis=0)
            here[j + 1] = ways.max(axis=0)
        above = here
    partner, place = np.full(left.shape, -1), np.zeros(left.shape, dtype=int)
    for pair in range(pairs):
        i, j = length, width
        while i:
            move = moves[i, j, pair]
            j -= move != DOWN
            if move != RIGHT:
                i -= 1
                place[pair, i] = j
                if move == DIAGONAL and left[pair, i] == right[pair, j]:
                    partner[pair, i] = j
    return partner, place
