"""Unlearning of memorized sequences, each by its own degree of memorization.

Three nouns run through the library: a *model* (a causal language model of transformers), a
table of *sequences* (token rows with an id), and *settings* (small frozen dataclasses). Nothing
here knows about Snakemake or about the layout of the results folder.
"""
