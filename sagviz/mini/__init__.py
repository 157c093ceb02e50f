"""The bundled miniature: a latent diffusion model with Stable Diffusion's anatomy that runs on a
laptop. See README.md here.
"""

from pathlib import Path

NAME = "miniature"  # what `load` and the command line call it
# CPU threads that pay: two are 5 % faster than one on a quiet machine, and 9 times slower on a busy
# one
THREADS = 1
WEIGHTS = Path(__file__).parent / "weights"
