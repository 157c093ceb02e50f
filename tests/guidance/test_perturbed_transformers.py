"""SEG, TPG, SSG, SLG and NAG on whole transformers, written a second time in float64: of the
picture alone (DiT), with cross-attention (PixArt), with two streams (SD3, Flux, Qwen-Image), and
with one that holds both (Flux's last blocks, Z-Image).

Nothing here knows the engine: attention is dense, tokens are moved in front of whole blocks, and a
block that is skipped is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Family
from dense import Act, Bias, Dense, plain
from scipy import ndimage
from tiny import difference, is_one_sentence
from tiny_transformers import TRANSFORMERS, prompt_of
from torch import Tensor, nn

import sagviz as sv
from sagviz import NAG, SEG, SLG, SSG, TPG
from sagviz.attention.blocks import blocks_of
from sagviz.attention.layers import cross_of, self_attentions
from sagviz.diffusion.seeds import generator
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance
from sagviz.guidance.tpg import STREAM
from sagviz.models import Conditioning

Open = Callable[[str], Family]
BOUND = 2e-4  # float32 against float64; a wrong formula is off by more than 1e-2
NEGATIVE, SEED, IMAGES, SIGMA, RATIO = "an owl", 3, 2, 1.5, 0.1
CROSS = ("pixart", "pixart_alpha")  # whose text is attended to in layers of its own


class Changed(nn.Module):
    """A block that sees other tokens of the picture."""

    def __init__(self, block: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.block, self.change = block, change

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            return self.block(self.change(args[0]), *args[1:], **kwargs)
        hidden = self.change(kwargs.pop("hidden_states"))
        return self.block(hidden_states=hidden, **kwargs)


def place_of(network: nn.Module, path: str) -> tuple[Any, int]:
    """The list that a block is in, and where."""
    name, _, place = path.rpartition(".")
    return network.get_submodule(name), int(place)


def with_tokens(
    dense: Dense, blocks: Sequence[str], change: Callable[[Tensor, int, int], Tensor]
) -> Dense:
    """The network with the tokens (N, d) of each image, by its number, changed before the blocks,
    by theirs.
    """
    other = dense.copied()

    def before(place: int) -> Callable[[Tensor], Tensor]:
        def moved(hidden: Tensor) -> Tensor:
            new, own = hidden.clone(), dense.picture(hidden.shape[1])
            for image, tokens in enumerate(hidden[:, own]):
                new[image, own] = change(tokens, image, place)
            return new

        return moved

    for place, path in enumerate(blocks):
        several, index = place_of(other.network, path)
        several[index] = Changed(several[index], before(place))
    return other


def without(dense: Dense, blocks: Sequence[str]) -> Dense:
    """The network without these blocks."""
    other = dense.copied()
    for path in reversed(blocks):
        several, index = place_of(other.network, path)
        del several[index]
    return other


def swapped(rows: Any, ratio: float) -> Any:
    """The least similar of all pairs change places, each row once."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    first, second = np.triu_indices(len(rows), 1)
    least = np.argsort((unit @ unit.T)[first, second])[: int(ratio * len(rows))]
    rows, moved = rows.copy(), set[int]()
    for pair in zip(first[least], second[least], strict=True):
        if moved.isdisjoint(pair):
            rows[list(pair)] = rows[list(reversed(pair))]
            moved.update(pair)
    return rows


def blurring(dense: Dense) -> Act:
    def act(q: Tensor, k: Tensor, v: Tensor, bias: Bias) -> Tensor:
        own, q = dense.picture(k.shape[2]), q.clone()
        cells = q[:, :, own].unflatten(2, dense.grid).numpy()
        soft = ndimage.gaussian_filter(cells, (0, 0, SIGMA, SIGMA, 0), mode="reflect")
        q[:, :, own] = torch.from_numpy(soft).flatten(2, 3)
        return plain(q, k, v, bias)

    return act


def normalizing(dense: Dense, term: NAG) -> Act:
    """The rows of the prompt, and then those of the negative one."""

    def beside(part: Tensor, text: slice) -> Tensor:
        """The negative text and the picture of the prompt's rows."""
        joined = part[:IMAGES].clone()
        joined[:, :, text] = part[IMAGES:, :, text]
        return joined

    def act(q: Tensor, k: Tensor, v: Tensor, bias: Bias) -> Tensor:
        out, last = plain(q, k, v, bias), bias[IMAGES:] if isinstance(bias, Tensor) else bias
        if dense.name in CROSS:
            own, other = slice(None), plain(q[:IMAGES], k[IMAGES:], v[IMAGES:], last)
        else:
            own, text = dense.picture(k.shape[2]), dense.text(k.shape[2])
            other = plain(beside(q, text), beside(k, text), beside(v, text), last)
            out[IMAGES:] = other
        z, away = (part[:IMAGES, :, own].transpose(1, 2).flatten(2) for part in (out, other))
        away = term.phi * z - (term.phi - 1) * away
        grown = away.norm(p=1, dim=-1, keepdim=True) / z.norm(p=1, dim=-1, keepdim=True)
        away = away * grown.clamp(max=term.tau) / grown
        new = (term.alpha * away + (1 - term.alpha) * z).unflatten(2, (q.shape[1], -1))
        out[:IMAGES, :, own] = new.transpose(1, 2)
        return out

    return act


def by_the_papers(dense: Dense, step: sv.Step, blocks: Sequence[str], nag: NAG) -> dict[str, Any]:
    """What the network says of x_t for each term."""
    x, prompt = step.x_t.double(), dense.given(prompt_of(dense.name)).expand(IMAGES)
    inside = [path for path in self_attentions(dense.network) if path.startswith(tuple(blocks))]

    def shuffled(tokens: Tensor, image: int, place: int) -> Tensor:
        drawn_by = generator(SEED + image, step.index, STREAM, place)
        return tokens[torch.randperm(len(tokens), generator=drawn_by)]

    def exchanged(tokens: Tensor, *_: int) -> Tensor:
        return torch.from_numpy(swapped(swapped(tokens.numpy(), RATIO).T, RATIO).T)

    found = {
        "seg": dense.predict(step, x, prompt, inside, blurring(dense)),
        "tpg": with_tokens(dense, blocks, shuffled).predict(step, x, prompt),
        "ssg": with_tokens(dense, blocks, exchanged).predict(step, x, prompt),
        "slg": without(dense, blocks).predict(step, x, prompt),
    }
    if "nag" in step.terms:
        crosses = [cross_of(dense.network, path) for path in self_attentions(dense.network)]
        texts = Conditioning.joined([prompt, dense.given(NEGATIVE).expand(IMAGES)])
        rows, act = torch.cat([x, x]), normalizing(dense, nag)
        found["nag"] = dense.predict(step, rows, texts, filter(None, crosses), act)[:IMAGES]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_step_is_the_papers(families: Open, name: str) -> None:
    model, size = families(name).model, (32, 32) if name == "dit" else (32, 40)
    paths = blocks_of(model.network).paths(model.network)
    blocks, nag = (paths[1], paths[-1]), NAG(1.0, phi=3.0, tau=1.2)
    terms = [
        SEG(1.0, layers=blocks, blur_sigma=SIGMA),
        TPG(1.0, layers=blocks),
        SSG(1.0, layers=blocks, swap_ratio=RATIO),
        SLG(1.0, layers=blocks),
        *([nag] if name != "dit" else []),
    ]
    trace = sv.trace(
        model,
        prompt_of(name),
        negative_prompt="" if name == "dit" else NEGATIVE,
        guidance=Guidance(tuple(terms)),
        steps=2,
        images=IMAGES,
        seed=SEED,
        size=size,
        progress=False,
    )
    step = trace[1]
    assert step.samples == IMAGES * (7 if name != "dit" else 5)
    for term, wanted in by_the_papers(Dense(name, model, size), step, blocks, nag).items():
        out = step.kept[f"out_{term}"]
        assert difference(out.double(), wanted) < BOUND, term
        assert difference(out, step.out_conditional) > 10 * BOUND, term


@pytest.mark.parametrize("name", ["pixart", "sd3", "flux", "z_image"])
def test_nag_moves_nothing_away_from_the_prompt_itself(families: Open, name: str) -> None:
    prompt = prompt_of(name)
    options: dict[str, Any] = {"guidance": NAG(1.0), "steps": 1, "size": (32, 32)}
    same, other = (
        sv.trace(families(name).model, prompt, negative_prompt=text, progress=False, **options)[0]
        for text in (prompt, NEGATIVE)
    )
    assert difference(same.kept["out_nag"], same.out_conditional) < 1e-5
    assert difference(other.kept["out_nag"], other.out_conditional) > 1e-3


def test_a_class_has_no_words_for_nag(families: Open) -> None:
    with pytest.raises(ArgumentError, match="NAG changes attention to words") as error:
        sv.trace(families("dit").model, "fox", guidance=NAG(1.0), steps=1, progress=False)
    assert is_one_sentence(error.value)
