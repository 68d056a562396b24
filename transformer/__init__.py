"""The Executable Transformer: the model of *Attention Is All You Need*, small enough to read in an evening."""

import warnings

__version__ = "0.1.0"

# accelerate imports tqdm.auto, which asks for Jupyter widgets; the progress bars here are plain text.
warnings.filterwarnings("ignore", message="IProgress not found")
