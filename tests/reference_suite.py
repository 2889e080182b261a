"""The NLP suite by plain loops: one item, one choice, one token at a time; no padding, no cache.

Nothing here knows the evaluation harness. It is slow and meant to be read.
"""

import math
import re
import string

import pandas as pd
import torch

REPLY_TOKENS = 32


def evaluate(tasks, model, tokenizer) -> pd.DataFrame:
    """The table that `unlearning.evaluation.evaluate` returns; `tasks`: (name, kind, items)."""
    score = {"choice": choice, "last_word": last_word, "dialogue": dialogue, "perplexity": text}
    rows = []
    for name, kind, items in tasks:
        for position, item in enumerate(items):
            value, weight = score[kind](item, model, tokenizer)
            rows.append((name, kind, position, value, weight))
    return pd.DataFrame(rows, columns=["task", "kind", "item", "value", "weight"])


def choice(item, model, tokenizer):
    best, best_sum = None, -math.inf
    for index, option in enumerate(item["choices"]):
        total, _ = continuation(item["context"], option, model, tokenizer)
        if total > best_sum:
            best, best_sum = index, total
    return float(best == item["gold"]), 1


def last_word(item, model, tokenizer):
    context, target = item["context"], item["target"]
    if context and not context[-1:].isspace() and not target[:1].isspace():
        target = " " + target
    _, greedy = continuation(context, target, model, tokenizer)
    return float(greedy), 1


def dialogue(item, model, tokenizer):
    return f1(reply(item["context"], model, tokenizer), item["reference"]), 1


def text(item, model, tokenizer):
    tokens = tokenizer.encode(item["text"], add_special_tokens=False)
    size = context_size(model)
    nats = 0.0
    for index, token in enumerate(tokens):
        first = index - index % size  # of the window that the token stands in
        last_window = first + size >= len(tokens)
        if first == 0:
            seen = [start_token(tokenizer), *tokens[:index]]
        elif last_window:  # reaches back as far as the model can see from the end of the text
            seen = tokens[len(tokens) - size - 1 : index]
        else:
            seen = tokens[first - 1 : index]
        nats -= log_probabilities(seen, model)[token].item()
    return nats, len(tokens)


# --- as Jang et al. 2023 score: `window` is 512 there ------------------------------------------


def evaluate_published(tasks, model, tokenizer, window) -> pd.DataFrame:
    """The same table, scored as the published code does."""
    score = {
        "choice": published_choice,
        "last_word": published_last_word,
        "dialogue": published_dialogue,
        "perplexity": published_text,
    }
    rows = []
    for name, kind, items in tasks:
        for position, item in enumerate(items):
            value, weight = score[kind](item, model, tokenizer, window)
            rows.append((name, kind, position, value, weight))
    return pd.DataFrame(rows, columns=["task", "kind", "item", "value", "weight"])


def published_choice(item, model, tokenizer, window):
    sums = []
    for option in item["choices"]:
        before, after = apart(item["context"], option, tokenizer, window)
        total = 0.0
        for index, token in enumerate(after):
            total += log_probabilities(before + after[:index], model)[token].item()
        sums.append(total)
    return float(sums.index(max(sums)) == item["gold"]), 1


def published_last_word(item, model, tokenizer, window):
    context, target = item["context"], item["target"]
    if context and not context[-1:].isspace() and not target[:1].isspace():
        target = " " + target
    before, after = apart(context, target, tokenizer, window)
    guessed = [
        log_probabilities(before + after[:index], model).argmax().item()
        for index in range(len(after))
    ]
    alike = plain_words(tokenizer.decode(guessed)) == plain_words(tokenizer.decode(after))
    return float(guessed == after or alike), 1


def published_dialogue(item, model, tokenizer, window):
    tokens = tokenizer.encode(item["context"])[:window]
    written = decoded(tokens, model, tokenizer).split("\nUser ")[0]
    return f1(written, item["reference"]), 1


def published_text(item, model, tokenizer, window):
    tokens = tokenizer.encode(item["text"], add_special_tokens=False)[:window]
    nats = 0.0
    for index in range(1, len(tokens)):
        nats -= log_probabilities(tokens[:index], model)[tokens[index]].item()
    return nats, len(tokens) - 1


def apart(context, added, tokenizer, window):
    """Context and continuation encoded apart, cut to the window."""
    before = tokenizer.encode(context) if context else [start_token(tokenizer)]
    after = tokenizer.encode(added, add_special_tokens=False)
    before, after = before[:window], after[:window]
    return (before + after)[-window:][: -len(after)], after


# --- what both need ----------------------------------------------------------------------------


def continuation(context, added, model, tokenizer):
    """Summed log-probability of a continuation, and whether all its tokens are greedy ones."""
    if context:
        stripped = context.rstrip()
        before = tokenizer.encode(stripped)
        after = tokenizer.encode(context + added)[len(before) :]
    else:
        before = [start_token(tokenizer)]
        after = tokenizer.encode(added, add_special_tokens=False)
    # what must be dropped at the beginning for the last prediction to fit
    before = before[max(0, len(before) + len(after) - context_size(model) - 1) :]
    total, greedy = 0.0, True
    for index, token in enumerate(after):
        log_probability = log_probabilities(before + after[:index], model)
        total += log_probability[token].item()
        greedy = greedy and log_probability.argmax().item() == token
    return total, greedy


def reply(context, model, tokenizer):
    """Greedy decoding from a context, cut at the first newline or end-of-text token."""
    tokens = tokenizer.encode(context)[-(context_size(model) - REPLY_TOKENS) :]
    return decoded(tokens, model, tokenizer).split("\n")[0]


def decoded(tokens, model, tokenizer):
    """Greedy decoding up to the end of the text."""
    written = []
    while len(written) < REPLY_TOKENS:
        token = log_probabilities(tokens + written, model).argmax().item()
        if token == tokenizer.eos_token_id:
            break
        written.append(token)
    return tokenizer.decode(written, skip_special_tokens=True)


def f1(prediction, reference):
    predicted, expected = plain_words(prediction), plain_words(reference)
    left, shared = list(expected), 0
    for word in predicted:
        if word in left:
            left.remove(word)
            shared += 1
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def plain_words(sentence):
    kept = "".join(c for c in sentence.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def start_token(tokenizer):
    return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id


def context_size(model):
    return model.config.max_position_embeddings


@torch.no_grad()
def log_probabilities(tokens, model):
    """Of every possible next token after `tokens`, (V,)."""
    logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
    return torch.log_softmax(logits.double(), dim=-1)
