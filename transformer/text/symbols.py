"""The special tokens, which have the same ids in every vocabulary."""

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
"""how padding, beginning, end and unknown words are written, in the order of their ids"""
PAD, BOS, EOS, UNK = range(4)
"""ids of padding, of a sentence's beginning and end, and of any word that is not in the vocabulary"""
