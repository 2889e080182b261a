"""What an unlearner may do to a model: read it, step on a loss, get its weights, set them."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor
from torch.nn import Identity
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from unlearning.memorization.rows import TokenRows, by_length
from unlearning.models import sharding
from unlearning.models.loading import PRECISIONS
from unlearning.models.offloading import OffloadedAdam, shard_of
from unlearning.models.readers import head_is_last, is_matrix, slice_rows
from unlearning.unlearners.readings import Reading, Reference, Term, Tokens, Total, Views

BETAS = (0.9, 0.98)  # Jang et al. 2023, and the release of the ICML 2024 paper


class Learner:
    """A model in full precision with Adam, stepping on whole sets of token rows.

    The whole set given to `ascend` or `descend` is *one* batch and makes *one* optimizer step, as
    published; it only passes through the model in micro-batches so that memory stays bounded. The
    loss is the mean cross-entropy over all predicted tokens of the set, nats per token; sequences
    of different lengths pass through length by length. A model that is spread over several
    processes is given the same set in each, and each does its share.

    `step` does the same for any loss that is a function of token statistics. A loss of two terms,
    ascent on what is to be forgotten and the divergence from the model of now on what is to be
    kept:

        now = learner.remember(keep)
        learner.step(
            mean_of(Reading(forget)),
            mean_of(Reading(keep, ("divergence",), now)),
        )

    Attributes:
        every_step: None, or what makes a term that is added to every step, whichever kind it is.
    """

    every_step: Callable[[], Term] | None

    def __init__(
        self,
        model: PreTrainedModel,
        learning_rate: float,
        micro_batch: int,
        *,
        precision: str = "fp32",
        checkpointing: bool = False,
        offload: str = "none",
    ):
        """Take hold of `model`, whose weights the steps change in place.

        Args:
            model: a causal language model with float32 weights; dropout is switched off
                (published: dropout 0).
            learning_rate: Adam's, constant; a method may set `learning_rate` between steps.
            micro_batch: token rows per forward pass; no influence on the result beyond rounding.
            precision: of the steps' matrix products: "fp32", "bf16" or "fp16" (with a scaled
                loss). Weights, gradients and moments stay in float32, as small updates vanish
                in half precision; memorization is always measured in the weights' own.
            checkpointing: compute activations twice instead of keeping them; same result.
            offload: "optimizer" keeps Adam's moments, and the copies that `weights` gives, in the
                CPU's memory; same result.
        """
        self.model = model.eval()
        self.learning_rate = learning_rate
        self.micro_batch = micro_batch
        self._precision = PRECISIONS[precision]
        self._checkpointing = checkpointing
        self._offload = offload == "optimizer"
        if checkpointing:
            switch_off_dropout(model)
            model.activation_checkpointing_enable({"use_reentrant": False})
        # parameters() names a tied matrix once: an edit over a state dict would apply it twice
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        head = model.get_output_embeddings()
        self._splits = not sharding.is_sharded(model) and head_is_last(model)
        self._sliced = (
            self._splits and precision == "fp32" and is_matrix(head) and head.weight.requires_grad
        )
        self._remembered = None
        self.every_step = None
        self.restart()

    def restart(self) -> None:
        """Forget Adam's moments: each phase of an unlearner begins afresh."""
        adam = OffloadedAdam if self._offload else torch.optim.Adam
        self._optimizer = adam(self._parameters, lr=self.learning_rate, betas=BETAS)
        self._scaler = torch.amp.GradScaler(
            self.model.device.type, enabled=self._precision == torch.float16
        )

    def ascend(self, rows: TokenRows) -> None:
        """One step that raises the loss on `rows`, N sequences of any length."""
        self._step(rows, direction=-1.0)

    def descend(self, rows: TokenRows) -> None:
        """One step that lowers the loss on `rows`, N sequences of any length."""
        self._step(rows, direction=1.0)

    def _step(self, rows: TokenRows, direction: float) -> None:
        self._add_loss(rows, direction)
        self._finish()

    def _add_loss(self, rows: TokenRows, direction: float) -> None:
        groups = [tokens for _, tokens in by_length(rows)]
        predicted = sum(tokens[:, 1:].numel() for tokens in groups)
        processes, rank = sharding.processes(), sharding.rank()
        self.model.train(self._checkpointing)  # the library recomputes in training mode only
        size = self.micro_batch * processes
        for part in (part for tokens in groups for part in tokens.split(size)):
            mine = part[rank::processes]
            # a process without a row takes part all the same, with one that counts nothing
            share = mine if len(mine) else part[:1]
            # the processes' gradients are averaged
            weight = direction * processes / predicted if len(mine) else 0.0
            add = self._add_sliced if self._sliced else self._add_whole
            add(share, weight)

    def _finish(self) -> None:
        """What every step adds, and the optimizer step."""
        if self.every_step is not None:
            self._add_terms([self.every_step()])
        self.model.eval()
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._remembered = None

    def _add_sliced(self, rows: Tensor, weight: float) -> None:
        """Add the gradients of `weight` times the summed token losses of `rows`."""
        body, head = self.model.base_model, self.model.get_output_embeddings()
        hidden = body(rows, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        hidden.backward(gradient_at(hidden, head, rows[:, 1:].flatten(), weight))

    def _add_whole(self, rows: Tensor, weight: float) -> None:
        """The same for any model, in any precision."""
        with self._autocast():
            logits = self.model(rows, use_cache=False).logits[:, :-1]
        losses = cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten(), reduction="sum")
        self._scaler.scale(weight * losses).backward()

    def step(self, *terms: Term) -> None:
        """One step that lowers the sum of the terms' objectives.

        An objective may be any differentiable function of its views, over all rows at once: it is
        taken at the views' values, and its slopes there weigh the tokens in a second pass, by
        micro-batches and slices. Where all rows are one micro-batch, the second pass goes on from
        the states of the first.

        Args:
            terms: pairs of a reading and an objective; a term without slopes adds nothing. The
                objective `Total`, and so `mean_of`, needs no first pass.
        """
        self.add(*terms)
        self._finish()

    def add(self, *terms: Term) -> None:
        """What the next step lowers besides its own terms, taken at the weights as they are now."""
        self._add_terms(terms)

    @contextmanager
    def descended(self, rows: TokenRows, distance: float) -> Iterator[None]:
        """The weights as a first step of Adam on `rows` would leave them, for as long as it lasts.

        Each is moved by `distance` against the sign of the loss's gradient, and put back after; the
        gradients of terms that are added in between stay. To be entered before any are.

        Args:
            rows: N sequences of any length.
            distance: of each weight.
        """
        kept = self.weights()
        self._add_loss(rows, direction=1.0)
        with torch.no_grad():
            for parameter in self._parameters:
                if parameter.grad is not None:
                    shard_of(parameter).sub_(distance * shard_of(parameter.grad).sign())
        self._optimizer.zero_grad(set_to_none=True)
        yield
        self.assign(kept)

    @torch.no_grad()
    def perturb(self, share: float, seed: int) -> None:
        """Mix every matrix with noise of its own spread; norms and biases stay.

        w becomes (1 - share) w + share s e, with s the standard deviation of its entries and e
        standard normal. Each process draws the noise of whole matrices, so that it is the same for
        any number of them.

        Args:
            share: of the noise, 0 to 1.
            seed: of the noise.
        """
        generator = torch.Generator().manual_seed(seed)
        for parameter in self._parameters:
            if parameter.ndim > 1:
                whole = sharding.whole(parameter)
                noise = torch.randn(whole.shape, generator=generator).to(whole.device)
                mixed = (1 - share) * whole + share * whole.std() * noise
                shard_of(parameter).copy_(sharding.split_like(mixed, parameter))
        self._remembered = None

    def _add_terms(self, terms: Iterable[Term]) -> None:
        self.model.train(self._checkpointing)
        for reading, objective in terms:
            shares, kept = self._shares(len(reading.rows)), None
            if isinstance(objective, Total):
                count = len(reading.views), reading.rows[:, 1:].numel()
                slopes = torch.full(count, objective.weight, device=reading.rows.device)
            else:
                # the activations of one micro-batch may wait for the slopes
                kept = [self._states(reading, shares[0][0])] if len(shares) == 1 else None
                table = self._table(reading, shares, kept).requires_grad_()
                value = objective(reading.shaped(table))
                if not value.requires_grad:
                    continue
                (slopes,) = torch.autograd.grad(value, table)
            # the processes' gradients are averaged
            self._add_slopes(reading, shares, kept, slopes * sharding.processes())

    @torch.no_grad()
    def read(self, reading: Reading) -> Views:
        """Views of the model as it is."""
        return reading.shaped(self._table(reading, self._shares(len(reading.rows)), None))

    @torch.no_grad()
    def remember(self, rows: Tensor, layer: int | None = None) -> Reference:
        """What the model as it is makes of `rows`, (N, T) token ids, to compare with later.

        Hidden states and one copy of the head, not logits. They wait in the machine's memory,
        not the GPU's. Of a model that is spread over processes, and of one whose head does not
        stand apart, logits have to be kept: 4 bytes for each token and word of the vocabulary.

        Args:
            rows: token ids.
            layer: the outputs of this layer, counted from 1; None is what the head reads.
        """
        reading = Reading(rows, layer=layer)
        every = torch.arange(len(rows))
        parts = [self._states(reading, some).cpu() for some in every.split(self.micro_batch)]
        if layer is not None or not self._splits:
            return Reference(torch.cat(parts))
        if self._remembered is None:  # one copy serves all rows, until the weights change
            self._remembered = copy.deepcopy(self.model.get_output_embeddings())
            self._remembered.requires_grad_(False)
        return Reference(torch.cat(parts), self._remembered)

    def _shares(self, count: int) -> list[tuple[Tensor, bool]]:
        """Micro-batches of so many rows, for this process: their indices, and whether they count.

        A process without a row takes part all the same, with one that counts nothing.
        """
        processes, rank = sharding.processes(), sharding.rank()
        parts = torch.arange(count).split(self.micro_batch * processes)
        return [
            (part[rank::processes], True) if rank < len(part) else (part[:1], False)
            for part in parts
        ]

    def _states(self, reading: Reading, rows: Tensor) -> Tensor:
        """(n, T-1, width), what some rows' predictions are made of: hidden states, or logits."""
        tokens, every = reading.rows[rows], reading.layer is not None
        with self._autocast():
            if self._splits:
                output = self.model.base_model(tokens, use_cache=False, output_hidden_states=every)
            else:
                output = self.model(tokens, use_cache=False, output_hidden_states=every)
        if sharding.is_sharded(self.model) and not torch.is_grad_enabled():
            sharding.reshard(self.model)
        if every:
            return output.hidden_states[reading.layer][:, :-1]
        return (output.last_hidden_state if self._splits else output.logits)[:, :-1]

    def _tokens(self, reading: Reading, rows: Tensor, states: Tensor) -> tuple[Tensor, Tokens]:
        """Which positions of some rows are looked at, (n, T-1) bool, and their tokens."""
        truth = reading.rows[rows, 1:]
        at = torch.ones_like(truth, dtype=torch.bool) if reading.at is None else reading.at[rows]
        reference = reading.reference
        if reference is not None:
            reference = reference[rows][at].to(states.device)
        head = self.model.get_output_embeddings() if self._splits else Identity()
        return at, Tokens(states[at], head, truth[at], reference, reading.demotion)

    def _slice_rows(self, states: Tensor) -> int:
        vocabulary = self.model.get_input_embeddings().num_embeddings
        return slice_rows(states.device, vocabulary, states.shape[-1] if self._splits else 0)

    @torch.no_grad()
    def _table(
        self,
        reading: Reading,
        shares: list[tuple[Tensor, bool]],
        kept: list[Tensor] | None,
    ) -> Tensor:
        """(views, N * (T-1)), 0 at positions that are not looked at.

        Args:
            reading: what to read.
            shares: the micro-batches.
            kept: their states, if already known.
        """
        count, length = reading.rows.shape
        table = torch.zeros(len(reading.views), count, length - 1, device=reading.rows.device)
        states = kept or (self._states(reading, rows) for rows, _ in shares)
        for (rows, counts), found in zip(shares, states, strict=True):
            at, tokens = self._tokens(reading, rows, found)
            with self._autocast():
                parts = [part.read(reading.views) for part in tokens.split(self._slice_rows(found))]
            if counts and parts:
                block = table[:, rows]
                block[:, at] = torch.cat(parts, dim=1)
                table[:, rows] = block
        return sharding.add_up(table).flatten(1)

    def _add_slopes(
        self,
        reading: Reading,
        shares: list[tuple[Tensor, bool]],
        kept: list[Tensor] | None,
        slopes: Tensor,
    ) -> None:
        """Add the gradients of the views, weighted by `slopes` (views, N * (T-1))."""
        states = kept or (self._states(reading, rows) for rows, _ in shares)
        slopes = slopes.view(len(slopes), len(reading.rows), -1)
        for (rows, counts), found in zip(shares, states, strict=True):
            at, tokens = self._tokens(reading, rows, found.detach())
            weights = self._scaler.scale(slopes[:, rows][:, at] * counts)
            back = torch.zeros_like(found)
            back[at] = self._gradient(reading, tokens, weights, self._slice_rows(found))
            found.backward(back)

    @torch.no_grad()
    def _gradient(self, reading: Reading, tokens: Tokens, weights: Tensor, size: int) -> Tensor:
        """(c, width), gradient of weighted views at the states; the head's own is added to it.

        As `gradient_at`, for any views: each slice's logits are made, read and left behind. Where
        the head is a plain matrix its products are written out, as those of autograd would make
        a second copy of its gradient for each slice, and the views' slopes with them.
        """
        head = tokens.head.weight if self._sliced and reading.layer is None else None
        if head is not None and head.grad is None:
            head.grad = torch.zeros_like(head)
        back = torch.empty_like(tokens.states)
        with self._autocast():
            for part, weight, into in zip(
                tokens.split(size), weights.split(size, dim=1), back.split(size), strict=True
            ):
                if head is None:
                    part.states.requires_grad_()
                    with torch.enable_grad():
                        (weight * part.read(reading.views)).sum().backward()
                    into.copy_(part.states.grad)
                else:
                    slopes = part.slopes(reading.views, weight)
                    torch.mm(slopes, head, out=into)
                    head.grad.addmm_(slopes.T, part.states)
        return back

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(
            self.model.device.type, self._precision, enabled=self._precision != torch.float32
        )

    def weights(self) -> list[Tensor]:
        """A copy of all trainable weights, in the model's order (this process's shards)."""
        weights = (shard_of(p.detach()) for p in self._parameters)
        return [w.to("cpu", copy=True) if self._offload else w.clone() for w in weights]

    @torch.no_grad()
    def assign(self, weights: Iterable[Tensor]) -> None:
        """Set all trainable weights, one after the other; Adam's moments stay as they are."""
        for parameter, value in zip(self._parameters, weights, strict=True):
            shard_of(parameter).copy_(value)
        self._remembered = None

    @torch.no_grad()
    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""
        finite = all(bool(shard_of(p).isfinite().all()) for p in self._parameters)
        return bool(sharding.least(finite, self.model.device))


@torch.no_grad()
def gradient_at(hidden: Tensor, head: torch.nn.Linear, truth: Tensor, weight: float) -> Tensor:
    """Gradient, at the hidden states, of `weight` times the summed cross-entropy behind the head.

    The head's own gradient is added to its weight's. Both come slice by slice: the logits of a
    slice turn into their gradient in place, so no table of all logits is ever held, let alone its
    softmax and its gradient beside it. With a vocabulary of 50,000 that is most of a step's memory,
    and on a CPU most of its time.

    Args:
        hidden: (n, width) last hidden states.
        head: from hidden states to logits, without bias.
        truth: (n,) the true next tokens.
        weight: of the sum.
    """
    table = head.weight
    if table.grad is None:
        table.grad = torch.zeros_like(table)
    size = slice_rows(hidden.device, *table.shape)
    back = torch.empty_like(hidden)
    place = hidden.new_empty(min(size, len(hidden)), len(table))
    for part, true, into in zip(
        *(whole.split(size) for whole in (hidden, truth, back)), strict=True
    ):
        logits = torch.mm(part, table.T, out=place[: len(part)])
        logits.sub_(logits.amax(dim=1, keepdim=True)).exp_()
        total = logits.sum(dim=1)
        logits[torch.arange(len(true), device=true.device), true] -= total
        # the scale goes to what is narrow, not to the logits
        scale = (weight / total)[:, None]
        torch.mm(logits, table, out=into).mul_(scale)
        table.grad.addmm_(logits.T, part * scale)
    return back


def switch_off_dropout(model: PreTrainedModel) -> None:
    """Set all dropout of a model to 0: its training mode then computes what its evaluation does."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name.endswith("dropout") and isinstance(value, float):
                setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
