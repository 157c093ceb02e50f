"""Third-party models, opened here alone: `load` finds one, and `Model` is all that the rest of
sagviz sees of it.
"""

from __future__ import annotations

from sagviz.models.base import Model as Model
from sagviz.models.conditioning import Conditioning as Conditioning
from sagviz.models.dit import DiT as DiT
from sagviz.models.flux import Flux as Flux
from sagviz.models.load import as_model as as_model
from sagviz.models.load import load as load
from sagviz.models.origin import Origin as Origin
from sagviz.models.pixart import PixArt as PixArt
from sagviz.models.qwen_image import QwenImage as QwenImage
from sagviz.models.schedulers import SCHEDULERS as SCHEDULERS
from sagviz.models.schedulers import check_scheduler as check_scheduler
from sagviz.models.schedulers import make_scheduler as make_scheduler
from sagviz.models.sd3 import SD3 as SD3
from sagviz.models.sdxl import SDXL as SDXL
from sagviz.models.stable_diffusion import StableDiffusion as StableDiffusion
from sagviz.models.unconditional import Pixels as Pixels
from sagviz.models.z_image import ZImage as ZImage
