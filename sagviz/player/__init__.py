"""The player: runs as a page or a fragment of one, alive without a kernel, a server or a network.

What it shows comes from `player.pack`; the drawing is a few hundred lines of plain script beside
this file, joined as they are.
"""

from sagviz.player.document import SCRIPT as SCRIPT
from sagviz.player.document import STYLE as STYLE
from sagviz.player.document import WIDGET as WIDGET
from sagviz.player.document import fragment as fragment
from sagviz.player.document import page as page
from sagviz.records.trace import PAGE_BYTES as PAGE_BYTES
