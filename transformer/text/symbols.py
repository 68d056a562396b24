"""The special tokens: padding, beginning and end of a sentence, unknown word; the same in every vocabulary."""

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
"""how the special tokens are written, in the order of their ids"""
PAD, BOS, EOS, UNK = range(4)
"""ids of padding, of a sentence's beginning and end, and of any word that is not in the vocabulary"""
