# @title Set up (in Colab; anywhere else this cell does nothing)
import importlib
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

REPOSITORY = "https://github.com/OWNER/NAME"
NEEDS = "accelerate altair matplotlib platformdirs pooch sacrebleu safetensors seaborn tokenizers tqdm tyro"

if find_spec("google") and find_spec("google.colab"):
    package = os.environ.get("TRANSFORMER_PACKAGE", f"git+{REPOSITORY}")
    lacking = [name for name in NEEDS.split() if not find_spec(name)]
    as_it_is = f"numpy=={version('numpy')}"  # with --no-deps below, Colab's torch and numpy are not touched
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--no-deps", package], check=True)
    if lacking:
        subprocess.run([*install, *lacking, as_it_is], check=True)
    importlib.invalidate_caches()
