"""Text encoder, U-Net and decoder of a small model as ONNX, weights in float16 where they are
float16's own.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sagviz.attention.hooks import before
from sagviz.attention.layers import find_layer, grid_of
from sagviz.attention.projected import inputs_of, queries_and_keys
from sagviz.diffusion.seeds import generator, normal
from sagviz.errors import ArgumentError
from sagviz.models import Model
from sagviz.models.at_work import usual_defaults

OPSET = 18
CALL: Mapping[str, Any] = {"prompt": "a fox on a blue background", "seed": 7, "t": 501}


class TextEncoder(nn.Module):
    """Tokens (1, N), int32, to what the U-Net reads, (1, N, channels)."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(ids.long())[0]
        return embedding


class Predictor(nn.Module):
    """Noise (1, C, H, W), and attention received per cell (1, h, w), whose mean is 1: what
    `attention.read.column_mass` gives of one layer.
    """

    def __init__(self, model: Model, layer: str) -> None:
        super().__init__()
        self.call, self.network = model.call_network, model.network
        self.layer = find_layer(self.network, layer)
        self.condition = model.condition

    def forward(self, x: Tensor, t: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []

        def look(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.append(inputs_of(self.layer, args, kwargs)["hidden_states"])

        handle = before(self.layer, look)
        try:
            eps = self.call(self.network, x, t, self.condition(text))
        finally:
            handle.remove()
        q, k = queries_and_keys(self.layer, seen[0], None, None)
        received = torch.softmax((self.layer.scale * q) @ k.mT, dim=-1).mean(dim=1).sum(dim=1)
        return eps, received.unflatten(1, grid_of(q.shape[2], (x.shape[2], x.shape[3])))


class Decoder(nn.Module):
    """Latents as the autoencoder knows them, (1, C, H, W), to pixels (1, 3, H', W')."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.vae.decode(latents).sample
        return pixels


def exported(model: Model, layer: str) -> dict[str, bytes]:
    """The networks as ONNX files by name: "text" (ids to states), "unet" (x, t, text to
    eps, attention) and "decoder" (latents to pixels).

    Args:
        model: a latent model with one text encoder, on the CPU in float32.
        layer: self-attention layer that is read.

    Raises:
        ArgumentError: the package onnxscript is missing.
    """
    with usual_defaults():
        tokens, (channels, height, width) = model.max_tokens, model.latent_shape(model.default_size)
        text = torch.zeros(1, tokens, model.network.config.cross_attention_dim)
        latents, t = torch.zeros(1, channels, height, width), torch.full((1,), 500.0)
        ids = torch.zeros(1, tokens, dtype=torch.int32)
        return {
            "text": _onnx(TextEncoder(model.text_encoder), {"ids": ids}, ["states"]),
            "unet": _onnx(
                Predictor(model, layer), {"x": latents, "t": t, "text": text}, ["eps", "attention"]
            ),
            "decoder": _onnx(Decoder(model.vae), {"latents": latents}, ["pixels"]),
        }


def known_call(model: Model, layer: str) -> dict[str, Any]:
    """One call of the U-Net as torch answers it, ready for JSON: `CALL`, and "eps" and "attention"
    with six digits; what another device computes is held to it.

    Args:
        model: a latent model with one text encoder, on the CPU in float32.
        layer: self-attention layer that is read.
    """
    network = Predictor(model, layer)
    with usual_defaults(), torch.no_grad(), _evaluated(network), _evaluated(model.text_encoder):
        x = normal((1, *model.latent_shape(model.default_size)), generator(CALL["seed"]))
        text = model.embed(CALL["prompt"]).text
        found = network(x, torch.tensor([float(CALL["t"])]), text)
    numbers = ([float(f"{v:.6g}") for v in each.flatten().tolist()] for each in found)
    return {**CALL, **dict(zip(("eps", "attention"), numbers, strict=True))}


def _onnx(network: nn.Module, inputs: Mapping[str, Tensor], outputs: list[str]) -> bytes:
    """A network of these inputs' shapes as an ONNX file."""
    with (
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        torch.no_grad(),
        _evaluated(network),
    ):
        warnings.simplefilter("ignore")  # of torch's and onnxscript's own deprecations
        try:
            program = torch.onnx.export(
                network,
                kwargs=dict(inputs),
                input_names=list(inputs),
                output_names=outputs,
                opset_version=OPSET,
                dynamo=True,
                optimize=False,  # the runtime does so
            )
        except ImportError as error:
            raise ArgumentError(
                "a live page needs onnx and onnxscript; try pip install 'sagviz[live]'"
            ) from error
    assert program is not None
    return _halved(program.model_proto)


@contextmanager
def _evaluated(network: nn.Module) -> Iterator[None]:
    """Without dropout; each module's own mode is put back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _halved(model: Any) -> bytes:
    """The file with those weights in float16 that are the same there, cast to float32 when it is
    loaded: half the bytes, the same numbers.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if weight.data_type != TensorProto.FLOAT or not np.array_equal(half, values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    for node in nodes:
        del node.metadata_props[:]  # where in Python each comes from: a tenth of the file
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())
