"""What is set on a pipeline after it was opened holds, or is refused as if it had been there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Family
from diffusers import FirstBlockCacheConfig
from tiny import build_unet, is_one_sentence

import sagviz as sv
from sagviz.errors import ArgumentError, ModelError

Open = Callable[[str], Family]


def stopped(
    model: Any, words: str, kind: type[sv.SagvizError] = ModelError, **options: Any
) -> None:
    for call in (sv.trace, sv.estimate):
        quiet = {"progress": False} if call is sv.trace else {}
        with pytest.raises(kind, match=words) as error:
            call(model, **{"prompt": "a fox", "steps": 2, **quiet, **options})
        assert is_one_sentence(error.value)


def test_another_part_is_judged_when_it_is_used(pipe: Any) -> None:
    model, own = sv.load(pipe), dict(pipe.components)
    for part, other, words in (
        ("unet", build_unet(in_channels=9), "takes 9 channels"),
        ("text_encoder", None, "has no text_encoder any more"),
    ):
        setattr(pipe, part, other)
        stopped(model, words)
        setattr(pipe, part, own[part])
    sv.trace(model, "a fox", steps=1, progress=False)


def test_an_adapter_for_pictures_is_named(pipe: Any) -> None:
    """As diffusers leaves a U-Net that has one."""
    model = sv.load(pipe)
    pipe.unet.config.encoder_hid_dim_type = "ip_image_proj"
    try:
        stopped(model, r"IP-Adapter, which pipe\.unload_ip_adapter\(\) removes")
    finally:
        pipe.unet.config.encoder_hid_dim_type = None


def test_a_cache_of_passes_is_refused(families: Open) -> None:
    pipe: Any = families("flux").pipe
    model = sv.load(pipe)
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    stopped(model, r"has a cache.* call its disable_cache\(\)")
    with pytest.raises(ModelError, match="disable_cache"):
        sv.load(pipe)
    pipe.transformer.disable_cache()
    sv.trace(model, "a fox", steps=1, progress=False)


@pytest.mark.parametrize("family", ["sd3", "z_image"])
def test_a_shift_that_the_settings_do_not_say_is_refused(families: Open, family: str) -> None:
    """Runs are noted, and made again, by the scheduler's settings."""
    pipe: Any = families(family).pipe
    model, own = sv.load(pipe), pipe.scheduler
    pipe.scheduler = type(own).from_config(own.config)
    pipe.scheduler.set_shift(7.0)
    words = r"shift of this Flow.* was changed after .*from_config\(scheduler\.config, shift=7\.0\)"
    stopped(model, words, ArgumentError)
    stopped(families(family).model, words, ArgumentError, scheduler=pipe.scheduler)
    pipe.scheduler = type(own).from_config(own.config, shift=7.0)
    sv.trace(model, "a fox", steps=1, progress=False)
    pipe.scheduler = own


def test_a_noise_schedule_that_the_settings_do_not_say_is_refused(pipe: Any) -> None:
    model, own = sv.load(pipe), pipe.scheduler
    pipe.scheduler = type(own).from_config(own.config)
    pipe.scheduler.alphas_cumprod = torch.linspace(0.99, 0.01, 1000)
    try:
        for scheduler in (None, "ddim"):  # which is laid out on the model's noise schedule
            stopped(
                model, "alphas_cumprod of this .* was changed", ArgumentError, scheduler=scheduler
            )
    finally:
        pipe.scheduler = own
