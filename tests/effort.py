"""How much the tests of faults, of hostile input and of the study try: little beside all others,
and much in `make faults`, `make hostile` and `make restudy`.
"""

from __future__ import annotations

import os

USUAL = 3
MOMENTS = int(os.environ.get("SAGVIZ_MOMENTS", USUAL))  # of each kind of fault
USUAL_EXAMPLES = 500
EXAMPLES = int(os.environ.get("SAGVIZ_EXAMPLES", USUAL_EXAMPLES))  # of hostile input, in all
LONG = MOMENTS > USUAL
EVERY_CELL = os.environ.get("SAGVIZ_CELLS") == "every"  # of the study, or one of each kind
