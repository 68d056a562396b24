"""The Executable Transformer: the model of *Attention Is All You Need*, small enough to read in an evening."""

__version__ = "0.1.0"
