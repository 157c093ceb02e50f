"""One step of a run taken apart: every quantity in a picture, every setting under a control, and what each change costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from typing import Any

import ipywidgets as W
import torch
import traitlets
from torch import Tensor

from sagviz import captions, plot, recipe
from sagviz.attention import LAYERS, find_layer
from sagviz.degrade import attended, kernel_size
from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import CFG, SAG, Guidance
from sagviz.models import Model
from sagviz.plot.formula import formula
from sagviz.plot.trial import trial
from sagviz.records import STORED, Step
from sagviz.traces import Trace
from sagviz.whatif import what_if
from sagviz.widgets.going_on import GoingOn
from sagviz.widgets.later import Later
from sagviz.widgets.looking import Looking
from sagviz.widgets.painting import Painting
from sagviz.widgets.parts import Amount, Number, View, Whole, button, column, flow, labelled

SLIDERS = {  # trait: label, lowest, highest, step
    "cfg_scale": ("CFG scale w", 0.0, 10.0, 0.1),
    "sag_scale": ("SAG scale s", -0.5, 2.0, 0.05),
    "threshold": ("threshold ψ", 0.0, 3.0, 0.05),
    "blur_sigma": ("blur σ", 0.0, 3.0, 0.1),
}
FREE = ("use_cfg", "use_sag", "cfg_scale", "sag_scale")  # a change of the others is worth waiting for its end
OF_SAG = ("threshold", "blur_sigma", "blur_kernel", "layer", "heads")
OWN = (*FREE, *OF_SAG, "mask")  # what a step of the run has its own value of
REMEMBERED = 64  # steps under settings that were tried
LIGHT = 5_000_000  # parameters of a decoder that is quick on any machine


class Mask(traitlets.TraitType[Any, Any]):
    """`None`, or cells of 0 and 1, (H, W), as a tensor, an array or nested lists."""

    def validate(self, _obj: Any, value: Any) -> Tensor | None:
        if value is None:
            return None
        cells = torch.as_tensor(value)
        if cells.dim() != 2 or not torch.isin(cells.float(), torch.tensor([0.0, 1.0])).all():
            raise ArgumentError(f"mask has the shape {tuple(cells.shape)}; give 0 and 1 in latent cells, (H, W), or None")
        return cells.float()


class Microscope(View):
    """A step of a trace taken apart, for a class and for a practitioner.

    Setting a trait from Python does what its control does. `step` is the record that is shown, `branched` the last branch.

    Example:
        scope = sv.Microscope(model, trace)
        scope.threshold = 1.3

    Args:
        model: what made the trace.
        trace: a run with at least one step.
        options: any of the traits below; by default they are the run's own settings.
    """

    index = Whole(0, min=0, max=99_999, help="position of the step in the trace, from 0 (the middle one)")
    image = Whole(0, min=0, max=4095, help="which image of the batch, from 0 (0)")
    use_cfg = traitlets.Bool(help="whether CFG acts; a branch that the run has not costs 1 U-Net call (as the run)")
    use_sag = traitlets.Bool(help="whether SAG acts; what the run has not costs 1 or 2 U-Net calls (as the run)")
    cfg_scale = Amount(min=-100, max=1000, help="CFG's scale w: 0 ignores the prompt, 1 is the plain prediction; no U-Net call")
    sag_scale = Amount(min=-100, max=1000, help="SAG's scale s, the paper's: 0 is off; no U-Net call")
    threshold = Amount(1.0, min=-1, max=99_999, help="threshold ψ in units of the mean attention; 1 U-Net call")
    blur_sigma = Amount(1.0, min=0, max=1000, help="standard deviation of the blur in latent cells; 1 U-Net call")
    blur_kernel = traitlets.Int(None, allow_none=True, help="taps of the blur, odd, or None for 2⌈4σ⌉ + 1; 1 U-Net call")
    layer = traitlets.Unicode("mid", help="the self-attention layer that is read; 2 U-Net calls")
    heads = traitlets.Tuple(default_value=None, allow_none=True, help="attention heads to average, None for all; 2 U-Net calls")
    mask = Mask(None, allow_none=True, help="a hand-made mask (H, W) of 0 and 1, or None for the attention's own; 1 U-Net call")
    place = traitlets.Tuple(
        default_value=(), help="(row, column) of the latent cell that is looked at, or () for none; 1 U-Net call"
    )
    hidden = traitlets.Bool(False, help="whether map and mask are covered, so that they can be guessed (False)")
    decoded = traitlets.Bool(help="whether the guided prediction is decoded after each change (True where that is quick)")

    def __init__(self, model: Model, trace: Trace, **options: Any) -> None:
        if not len(trace):
            raise TraceError("this trace holds no step to look at; run at least one")
        self.model, self.trace = model, trace
        self.branched: Trace | None = None
        self._lock, self._held = threading.RLock(), 1
        self._known: dict[Any, Step] = {}
        self._drawn: object = None
        self._later = Later()
        if trace.latent_rgb is None:  # an interrupted run has no colours of its own
            self.trace = trace = replace(trace, latent_rgb=model.latent_rgb)
        index = options.get("index", len(trace) // 2)
        own = self.own(index) if isinstance(index, int) and 0 <= index < len(trace) else {}
        super().__init__(**{"index": index, "decoded": _is_light(model), **own, **options})
        self._build()
        self._held = 0
        self.observe(self._changed, names=[name for name in self.options() if name not in ("place",)])
        self.refresh()

    @traitlets.validate("index", "image", "cfg_scale", "sag_scale", "threshold", "blur_sigma", "place", "mask")
    def _in_range(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        rows, _, height, width = self.trace[0].x_t.shape
        if name == "mask" and value is not None and value.shape != (height, width):
            raise ArgumentError(f"mask has the shape {tuple(value.shape)}; this latent has (H, W) = ({height}, {width})")
        if name == "place" and value and not (len(value) == 2 and 0 <= value[0] < height and 0 <= value[1] < width):
            raise ArgumentError(f"place is {value!r}; give (row, column) up to ({height - 1}, {width - 1}), or () for none")
        low, high = {"index": (0, len(self.trace) - 1), "image": (0, rows - 1), **self._limits()}.get(name, (None, None))
        if low is not None and not low <= value <= high:
            raise ArgumentError(f"{name} is {value:g}; give a number from {low:g} to {high:g}")
        return value

    def own(self, index: int) -> dict[str, Any]:
        """The settings that the run itself had at a step, by trait."""
        guidance, step = self._own_guidance(index), self.trace[index]
        cfg, sag = guidance.cfg or CFG(3.0), guidance.sag or SAG(1.0)
        cells = float(step.x_t[0, 0].numel())  # no map exceeds its number of cells, so that this stands for infinity
        return {
            "use_cfg": guidance.cfg is not None, "use_sag": guidance.sag is not None, "cfg_scale": float(cfg.scale),
            "sag_scale": float(sag.scale), "threshold": max(-1.0, min(float(sag.threshold), cells)),
            "blur_sigma": float(sag.blur_sigma), "blur_kernel": sag.blur_kernel, "layer": sag.layer, "heads": sag.heads,
            "mask": None if step.painted is None else step.painted[0, 0],
        }  # fmt: skip

    @property
    def guidance(self) -> Guidance:
        """The guidance that the controls stand for; what they leave alone is the run's own."""
        own, guidance = self.own(self.index), self._own_guidance(self.index)
        changed = {name: getattr(self, name) for name in OF_SAG if getattr(self, name) != own[name]}
        cfg = replace(guidance.cfg or CFG(3.0), scale=self.cfg_scale)
        sag = replace(guidance.sag or SAG(1.0), scale=self.sag_scale, **changed)
        return Guidance(((cfg,) if self.use_cfg else ()) + ((sag,) if self.use_sag else ()))

    @property
    def applied_mask(self) -> Tensor | None:
        """The hand-made mask, where there is SAG to use it."""
        return self.mask if self.use_sag else None

    @property
    def _decoder(self) -> Model | None:
        return self.model if self.decoded else None

    @property
    def shown(self) -> Step:
        """The record that is shown, of the chosen image alone."""
        return self._one(self.step)

    @property
    def attended(self) -> Tensor | None:
        """The attention's own mask at the chosen image, (H, W), whatever was painted."""
        step, size = self.shown, self.trace[0].x_t.shape[2:]
        if step.attention is None or step.guidance.sag is None:
            return None
        return attended(step.attention, step.guidance.sag.threshold, (size[0], size[1]))[0, 0]

    def reset(self, *names: str) -> None:
        """Set these traits, or all of them, to the run's own values."""
        own = self.own(self.index)
        with self.together():
            for name in names or OWN:
                setattr(self, name, own[name])

    @contextmanager
    def together(self) -> Iterator[None]:
        """Several changes, one refresh."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        self.refresh()

    def refresh(self) -> None:
        """Compute the step under the present settings, as far as it is not known, and show it."""
        if self._held:
            return
        with self._lock, self.guarded():
            began = time.perf_counter()
            self.step = self._look()
            self._draw()
            milliseconds = 1000 * (time.perf_counter() - began)
            calls = f"{self.step.forwards} U-Net call{'s' * (self.step.forwards != 1)}"
            self._cost.value = f"<p>The last change cost <b>{calls}</b>, {milliseconds:.0f} ms with its pictures.</p>"

    def static_html(self) -> str:
        words = escape(captions.of_step(self._one(self.step), self.trace.evaluations))
        return f"<div><p>{words}</p>{self._results.value}{self._formula.value}<hr>{self._panes.value}</div>"

    def close(self) -> None:
        self._later.forget()
        self.going_on.worker.cancel()
        super().close()

    def _own_guidance(self, index: int) -> Guidance:
        """The guidance of the run, or of the one that it left, at a step."""
        settings = self.trace.settings
        while settings.before is not None and self.trace[index].index < (settings.branched_at or 0):
            settings = settings.before
        return settings.guidance

    def _look(self) -> Step:
        """The step under the present settings, from what is known of it: the trace's own record, or an earlier try."""
        guidance, mask = self.guidance, self.applied_mask
        own = self.trace[self.index]
        blind = tuple(replace(term, scale=0.0) for term in guidance.terms)  # predictions do not depend on scales
        key = (self.index, blind, None if mask is None else mask.numpy().tobytes())
        self._predicted = key
        steps = list(self.trace)
        steps[self.index] = self._known.get(key, own)
        step = what_if(self.model, replace(self.trace, steps=tuple(steps)), self.index, guidance=guidance, mask=mask)
        self._known = {**dict(list(self._known.items())[-REMEMBERED:]), key: step}
        return step

    def _one(self, step: Step) -> Step:
        """The record of the chosen image alone."""
        rows = slice(self.image, self.image + 1)
        return replace(step, **{name: value[rows] for name in STORED if (value := getattr(step, name)) is not None})

    def _draw(self) -> None:
        step = self.shown
        self._results.value = trial(self.trace, self._one(self.trace[self.index]), step, self._decoder)._repr_html_()
        self._formula.value = formula(step)._repr_html_()
        words = captions.of_step(step, self.trace.evaluations)
        self._story.value = f"<p>{escape(words) if not self.hidden else 'Map and mask are covered: paint first.'}</p>"
        for name, again in self._resets.items():
            again.disabled = _same(getattr(self, name), self.own(self.index)[name])
        self._write_code()
        if self._drawn != (self._predicted, self.image, self.hidden):  # else only a scale has changed
            self._drawn = (self._predicted, self.image, self.hidden)
            view = replace(self.trace, steps=tuple(map(self._one, self.trace)))
            panes = plot.step_panel(view, step).panels[:-1]  # the last one stands among the results
            self._panes.value = plot.Panels(_covered(panes) if self.hidden else panes, width=150)._repr_html_()
            self.looking.refresh()
            self.painting.refresh()

    def _write_code(self, _: object = None) -> None:
        """Only where it is read."""
        if self._tabs.selected_index == 3:
            self._code.value = recipe.code(self.model, self.trace, self.step, image=self.image)

    def _changed(self, change: Any) -> None:
        if change.name == "index" and not self._held:
            self._follow(change.old)
        if change.name == "layer":
            with self.guarded():
                self._offer_heads()
        self.refresh()

    def _follow(self, before: int) -> None:
        """Settings that were the run's own at the last step are its own at this one."""
        was, own = self.own(before), self.own(self.index)
        self._held += 1
        try:
            for name in OWN:
                if _same(getattr(self, name), was[name]):
                    setattr(self, name, own[name])
        finally:
            self._held -= 1

    def _limits(self) -> dict[str, tuple[float, float]]:
        """Ends of the sliders, widened where the run went beyond."""
        every = [self.own(index) for index in (0, len(self.trace) - 1)]
        return {
            name: (min(low, *(own[name] for own in every)), max(high, *(own[name] for own in every)))
            for name, (_, low, high, _) in SLIDERS.items()
        }

    def _build(self) -> None:
        self._story, self._results, self._panes, self._formula, self._cost = (W.HTML() for _ in range(5))
        self._resets: dict[str, W.Button] = {}
        for made, name in ((self._story, "story"), (self._results, "results"), (self._panes, "panes"), (self._cost, "cost")):
            made.add_class(f"sag-{name}")
        self.looking, self.painting, self.going_on = Looking(self), Painting(self), GoingOn(self)
        self._code = labelled(W.Textarea(description="Python", rows=16), "makes these very pictures; select all and copy")
        self._code.add_class("sag-code")
        self._tabs = W.Tab([self.looking, self.painting, self.going_on, self._code])
        for place, title in enumerate(("Look from a place", "Paint the mask", "Go on from here", "As code")):
            self._tabs.set_title(place, title)
        self._tabs.observe(self._write_code, "selected_index")
        results = column(self._results, self._formula, self._cost, width="400px")
        self.fill(self._top(), self._story, flow(column(*self._controls(), width="360px"), results), self._panes, self._tabs)

    def _top(self) -> W.Widget:
        """What is looked at: the step, and the image where there are several."""
        last, images = len(self.trace) - 1, len(self.trace[0].x_t)
        parts = [self._tied("index", Number("Step", self.index, 0, last, 1, words=self.traits()["index"].help))]
        if images > 1:
            parts.append(self._tied("image", Number("Image", self.image, 0, images - 1, 1, words="which image of the batch")))
        again = button("Reset all", "set every control to the run's own value")
        again.on_click(lambda _: self.reset())
        again.add_class("sag-reset-all")
        switch = self.control("decoded", "decode the result")
        return flow(*(_sized(part) for part in parts), again, switch)

    def _controls(self) -> Iterator[W.Widget]:
        limits = self._limits()
        for name, switch, words in (("cfg_scale", "use_cfg", "CFG"), ("sag_scale", "use_sag", "SAG")):
            yield self._row(switch, self.control(switch, f"{words} acts"))
            yield self._row(name, self._number(name, limits[name]))
        for name in ("threshold", "blur_sigma"):
            yield self._row(name, self._number(name, limits[name]))
        for name, label in (("blur_kernel", "blur taps"), ("layer", "layer"), ("heads", "heads")):
            menu = labelled(W.Dropdown(description=label, options=self._offers(name)), self.traits()[name].help)
            yield self._row(name, self._tied(name, menu))

    def _number(self, name: str, limits: tuple[float, float]) -> W.Widget:
        label, _, _, step = SLIDERS[name]
        return self._tied(name, Number(label, getattr(self, name), *limits, step, words=self.traits()[name].help))

    def _row(self, name: str, control: W.Widget) -> W.Widget:
        """A control and the button that sets it back, which is dim where there is nothing to set back."""
        again = self._resets[name] = button("Reset", f"set {name} to the run's own value")
        again.on_click(lambda _: self.reset(name))
        again.add_class(f"sag-reset-{name.replace('_', '-')}")
        again.layout.flex = "0 0 auto"
        control.layout.flex, control.layout.width, control.layout.min_width = "1 1 auto", "auto", "0"
        return W.HBox([control, again], layout=W.Layout(width="100%", overflow="visible", align_items="center"))

    def _tied(self, name: str, control: Any) -> Any:
        """Tie a control to its trait. What needs a U-Net call waits until the hand rests."""

        def to_trait(change: Any) -> None:
            if _same(change.new, getattr(self, name)):
                return
            if name in FREE:
                self._set(name, change.new)
            else:
                self._later.do(lambda: self._set(name, change.new))

        def to_control(_: Any = None) -> None:
            value = getattr(self, name)
            if isinstance(control, W.Dropdown) and value not in [each for _, each in control.options]:
                control.options = (*control.options, (str(value), value))
            if not self._later.pending:
                control.value = value

        to_control()
        control.observe(to_trait, "value")
        self.observe(to_control, name)
        control.add_class(f"sag-{name.replace('_', '-')}")
        if isinstance(control, W.Dropdown):
            self._menus = {**getattr(self, "_menus", {}), name: control}
        return control

    def _set(self, name: str, value: Any) -> None:
        with self.guarded():
            setattr(self, name, value)

    def _offers(self, name: str) -> list[tuple[str, Any]]:
        """What a menu offers: words and value."""
        if name == "layer":
            paths = [path for path, _ in self.model.unet.named_modules() if path.endswith("attn1")]
            return [("middle block", "mid"), *((_layer_words(path), path) for path in paths if path != LAYERS["mid"])]
        if name == "heads":
            return [("all", None), *((f"head {each}", (each,)) for each in range(find_layer(self.model.unet, self.layer).heads))]
        side = min(self.trace[0].x_t.shape[2:])
        return [("automatic", None), *((str(taps), taps) for taps in range(1, min(2 * side, kernel_size(3.0) + 1), 2))]

    def _offer_heads(self) -> None:
        offers = self._offers("heads")
        if self.heads is not None and self.heads not in [value for _, value in offers]:
            self.heads = None
        self._menus["heads"].options = offers
        self._menus["heads"].value = self.heads


def _is_light(model: Model) -> bool:
    return sum(weights.numel() for weights in model.vae.parameters()) < LIGHT


def _same(a: Any, b: Any) -> bool:
    """Equality, of masks too."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b


def _covered(panels: Sequence[plot.Panel]) -> tuple[plot.Panel, ...]:
    """What gives the mask away, covered."""
    telling = ("attention", "mask", "blurred", "degraded", "SAG")
    grey = {panel.title: panel.image.convert("RGB").point(lambda _: 128) for panel in panels}
    return tuple(
        plot.Panel(grey[panel.title], panel.title, "covered until you reveal it") if panel.title.startswith(telling) else panel
        for panel in panels
    )


def _sized(control: W.Widget) -> W.Widget:
    control.layout.flex, control.layout.width = "1 1 320px", "auto"
    return control


def _layer_words(path: str) -> str:
    """`down_blocks.1.attentions.0.transformer_blocks.0.attn1` as people say it."""
    numbers = [int(part) for part in path.split(".") if part.isdigit()]
    side = path.partition("_")[0]
    where = "middle block" if side == "mid" else f"{side} block {numbers[0]}"
    rest = numbers if side == "mid" else numbers[1:]
    return f"{where}, attention {' / '.join(map(str, rest))}"
