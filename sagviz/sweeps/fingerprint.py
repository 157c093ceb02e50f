"""`fingerprint`: which weights a model has, in 16 letters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import torch

from sagviz.guidance import CG, Guidance
from sagviz.models import Model
from sagviz.models.offload import weights

PROBES = 16  # numbers of each weight tensor that the fingerprint looks at


def fingerprint(model: Model, guidance: Iterable[Guidance] = ()) -> str:
    """Hash of the networks' shapes and of a few numbers out of every weight: fine-tunes differ, and
    so do number formats.

    The classifier is one of them where some guidance has CG.
    """
    digest = hashlib.sha256()
    networks = list(model.networks.values())
    if any(map(uses_classifier, guidance)) and isinstance(model.classifier, torch.nn.Module):
        networks.append(model.classifier)
    for network in networks:
        state = weights(network)
        shapes = [[name, list(value.shape), str(value.dtype)] for name, value in state.items()]
        digest.update(json.dumps(shapes).encode())
        probes = [
            value.flatten()[:: max(1, value.numel() // PROBES)][:PROBES]
            for value in state.values()
            if not value.is_meta
        ]
        # One copy from the device, in float32, which holds float16 and bfloat16 exactly.
        digest.update(torch.cat([probe.float() for probe in probes]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def uses_classifier(guidance: Guidance) -> bool:
    """Whether the model's classifier is one of the networks that a run depends on."""
    return guidance.get(CG) is not None
