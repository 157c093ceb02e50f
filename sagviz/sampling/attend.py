"""Where a place attends to at a step of a trace: read afterwards, by one U-Net pass on the stored
x_t.
"""

from __future__ import annotations

import torch

from sagviz.attention.capture import Capture
from sagviz.attention.captured import Captured, captured_of
from sagviz.attention.layers import cross_of, has_text
from sagviz.attention.read import capture
from sagviz.attention.words import words_of
from sagviz.checks import names_arguments
from sagviz.models import Conditioning, Model, as_model
from sagviz.records.trace import Trace
from sagviz.sampling.checks import check_made_by
from sagviz.sampling.inputs import conditioning


@names_arguments()
@torch.no_grad()
def attend(
    model: Model,
    trace: Trace,
    index: int,
    place: tuple[int, int],
    *,
    layer: str = "mid",
    heads: tuple[int, ...] | None = None,
) -> Captured:
    """What the cell at `place` attends to, and all cells to the words of the prompt, at one layer
    of one step.

    Args:
        model: what made the trace.
        index: position in the trace; -1 is the last.
        place: (y, x) in cells of the latent.
        layer: self-attention layer, "mid" or a dotted path; the words are read at the
            cross-attention beside it, or in its own softmax where the text has its share there.
        heads: which heads to average; all where `None`.

    Returns:
        `row` (B, h, w), where the place attends to: it sums to 1. `words` (B, W, h, w) with
        `names`: what each cell gives to each word, `None` where the layer has no cross-attention
            beside it, or embeddings were given in place of the prompt. `mass` (B, h, w), what each
            cell receives. `text` (B, h, w), the text's share, where picture and text share a
            softmax.

    Raises:
        ArgumentError: there is no such step, place, layer or head, or another model made the trace.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=4, guidance=CFG(3.0), progress=False)
        >>> found = sv.attend(model, trace, 2, (8, 8))
        >>> found.names, found.row.shape
        (('[start]', 'a', 'fox', '[end]'), torch.Size([1, 8, 8]))
    """
    model = as_model(model)
    check_made_by(model, trace)
    step, settings = trace[trace.position(index)], trace.settings
    kinds: tuple[str, ...] = ("mass", "row")
    if (
        model.tokenizer is not None
        and cross_of(model.network, layer)
        and "prompt_embeds" not in settings.inputs
    ):
        kinds += ("words",)
    if has_text(model.network, layer):
        kinds += ("text",)
    height, width = step.x_t.shape[2:]
    wanted = Capture(layer, kinds, place=place, heads=heads).resolved(model, (height, width))
    texts = settings.texts(step.guidance).values()
    images = len(step.x_t)
    x = torch.cat([step.level.seen(step.x_t)] * len(texts)).to(model.device)
    texts_of_rows = Conditioning.joined(
        [conditioning(model, text, trace.inputs, settings.size).expand(images) for text in texts]
    )
    base, conditional = range(images), range(len(x) - images, len(x))
    rows = {
        **dict.fromkeys(wanted.readings(words=False), base),
        **dict.fromkeys(wanted.readings(words=True), conditional),
    }
    with model.at_work(), capture(model.network, rows, (height, width)) as read:
        model.predict(x, torch.tensor(step.t, device=model.device), texts_of_rows)
    words = words_of(model, settings.prompt) if "words" in kinds else ()
    (found,) = captured_of({key: value.cpu() for key, value in read.items()}, words).values()
    return found
