"""Makes the pictures of the README: `make pictures`."""

from pathlib import Path

import sagviz as sv
from sagviz import SAG

HERE = Path(__file__).parent
PROMPT, SEED = "a fox on a blue background", 7

model = sv.load()
traces = sv.compare(model, PROMPT, cfg=3.0, sag=SAG(1.0), seed=SEED, steps=50, unguided=True)
sv.plot.triptych(traces).save(HERE / "compare.png")
sv.plot.schematic(traces[-1], 20, model).save(HERE / "schematic.png")
sv.plot.film_strip(traces[-1], model).save(HERE / "strip.png")
