"""The bundled miniature: a latent diffusion model with Stable Diffusion's anatomy that runs on a
laptop. See README.md here.
"""

from pathlib import Path

NAME = "miniature"  # what `load` and the command line call it
WEIGHTS = Path(__file__).parent / "weights"
