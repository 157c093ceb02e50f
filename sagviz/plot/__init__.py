"""Pictures of a run. Each function gives an object that a notebook shows, and that `save(path)`
writes as PNG.

Figures are `matplotlib.figure.Figure`, never pyplot: nothing global, nothing that leaks.
"""

from sagviz.plot.atlas import Atlas as Atlas
from sagviz.plot.attention import word_bars as word_bars
from sagviz.plot.curves import guidance_curves as guidance_curves
from sagviz.plot.difference import difference as difference
from sagviz.plot.display import Drawing as Drawing
from sagviz.plot.display import Panel as Panel
from sagviz.plot.display import Panels as Panels
from sagviz.plot.display import Strip as Strip
from sagviz.plot.formula import formula as formula
from sagviz.plot.layers import Layers as Layers
from sagviz.plot.panels import film_strip as film_strip
from sagviz.plot.panels import step_panel as step_panel
from sagviz.plot.panels import triptych as triptych
from sagviz.plot.points import points as points
from sagviz.plot.schematic import schematic as schematic
from sagviz.plot.series import gallery as gallery
from sagviz.plot.series import lines as lines
from sagviz.plot.sheet import Sheet as Sheet
from sagviz.plot.sheet import contact_sheet as contact_sheet
