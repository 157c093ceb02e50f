"""Networks that wait elsewhere until they are called: ours, accelerate's and diffusers' own hooks,
all with the CPU as device.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from diffusers import StableDiffusionPipeline
from tiny import is_one_sentence, noise
from torch import nn

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ArgumentError
from sagviz.models.fingerprint import fingerprint
from sagviz.models.offload import execution_device, is_offloaded, visit_in_turn

CPU = torch.device("cpu")


def run(model: sv.Model) -> sv.Trace:
    return sv.trace(
        model,
        "a fox",
        steps=2,
        guidance=CFG(3.0) + SAG(1.0),
        capture=sv.Capture(what=("mass", "words")),
        progress=False,
    )


class Traveller(nn.Module):
    """A network that only knows where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.place, self.moves = CPU, 0

    def parameters(self, recurse: bool = True) -> Any:
        del recurse
        return iter(
            [torch.empty(0, device="meta") if self.place.type == "meta" else torch.empty(0)]
        )

    def to(self, place: Any) -> Any:  # type: ignore[override]
        self.place, self.moves = torch.device(place), self.moves + 1
        return self

    def forward(self, x: torch.Tensor) -> torch.device:
        return x.device


def test_one_network_at_a_time_visits_the_device() -> None:
    """It stays while it is called again, and leaves for the next, whatever their order."""
    networks = text, unet, vae = [Traveller() for _ in range(3)]
    visit_in_turn(networks, torch.device("meta"))
    assert {network.place.type for network in networks} == {"cpu"}
    for network in (text, text, unet, unet, unet, vae, unet, text, vae):
        assert network(torch.zeros(1)).type == "meta", "the input does not follow"
        assert [other for other in networks if other.place.type == "meta"] == [network]
    visits = {"text": (text, 2), "unet": (unet, 2), "vae": (vae, 2)}
    for network, times in visits.values():
        assert network.moves == 1 + 2 * times - (network is vae), "moved without need"
    assert all(execution_device(network).type == "meta" for network in networks)


def test_visiting_networks_compute_the_same_bits(model: sv.Model, folder: Path) -> None:
    """Through every door: text, U-Net with captures, decoder and encoder."""
    ours = sv.load(folder)
    assert not is_offloaded(ours.unet)
    visit_in_turn([ours.unet, ours.vae, ours.text_encoder], CPU)
    assert all(map(is_offloaded, (ours.unet, ours.vae, ours.text_encoder)))
    a, b = run(model), run(ours)
    assert torch.equal(a.latents, b.latents)
    assert a.image.tobytes() == b.image.tobytes()
    assert torch.equal(a[1].captured["mid"].words, b[1].captured["mid"].words)
    assert torch.equal(model.encode(a.image), ours.encode(a.image))
    assert (ours.device, ours.dtype) == (CPU, torch.float32)


def in_parts(pipe: StableDiffusionPipeline) -> None:
    """What `enable_sequential_cpu_offload` does; with copies, because accelerate takes the CPU's
    own weights for tied ones.
    """
    for network in (pipe.unet, pipe.vae, pipe.text_encoder):
        cpu_offload(
            network,
            CPU,
            state_dict={name: value.clone() for name, value in network.state_dict().items()},
        )


WAYS: dict[str, Callable[[StableDiffusionPipeline], Any]] = {
    "model": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "sequential": in_parts,
    "group": lambda pipe: pipe.enable_group_offload(
        onload_device=CPU, offload_device=CPU, offload_type="leaf_level"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_pipeline_with_hooks_of_its_own_runs_as_one_without(
    model: sv.Model, folder: Path, way: str
) -> None:
    """Under sequential offload the weights are on the meta device between calls, and the inputs
    must not go there.
    """
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    WAYS[way](pipe)
    ours = sv.load(pipe)
    assert ours.device.type == execution_device(ours.vae).type == "cpu"
    assert is_offloaded(ours.unet)
    if way == "sequential":
        assert next(ours.unet.parameters()).is_meta
    assert torch.equal(run(ours).latents, run(model).latents)
    assert ours.encode(ours.decode(noise())[0]).shape == (1, 4, 16, 16)
    assert fingerprint(ours) == fingerprint(model)
    sv.what_if(ours, run(ours), 1, guidance=CFG(3.0) + SAG(1.0, threshold=1.1))


def test_offload_without_a_gpu_says_that_it_does_nothing(folder: Path, model: sv.Model) -> None:
    with pytest.warns(sv.SagvizWarning, match="does nothing on cpu") as caught:
        plain = sv.load(folder, device="cpu", offload=True)
    assert caught[0].filename == __file__
    assert not is_offloaded(plain.unet)
    assert torch.equal(run(plain).latents, run(model).latents)


def test_a_pipeline_has_its_own_way_to_offload(pipe: StableDiffusionPipeline) -> None:
    with pytest.raises(ArgumentError, match="enable_model_cpu_offload") as error:
        sv.load(pipe, offload=True)
    assert is_one_sentence(error.value)
