"""Texts and tokens (paper §5.1): sentence pairs, the corpora they come from, the tokeniser, and batches."""
