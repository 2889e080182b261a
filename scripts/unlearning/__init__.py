"""Unlearning of memorized sequences, each by its own degree of memorization.

Three nouns run through the library: a *model* (a causal language model of transformers), a
table of *sequences* (token rows with an id), and *settings* (small frozen dataclasses). Nothing
here knows about Snakemake or about the layout of the results folder.
"""

import gc

# what has been imported so far, often torch, stays: no collection need go through it again. Without
# this a sixth of a job's start is spent on that, as the next library makes collections frequent
gc.freeze()
