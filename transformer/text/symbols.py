"""The special tokens, which have the same ids in every vocabulary."""

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
"""how padding, beginning, end and unknown words are written, in the order of their ids"""
PAD = 0
"""id of padding, which fills up the shorter sentences of a batch"""
BOS = 1
"""id of the mark before a sentence's first token"""
EOS = 2
"""id of the mark after its last one"""
UNK = 3
"""id of any word that is not in the vocabulary"""
