"""How much the tests of faults and of hostile input try: little beside all others, and much in
`make faults` and `make hostile`.
"""

from __future__ import annotations

import os

USUAL = 3
MOMENTS = int(os.environ.get("SAGVIZ_MOMENTS", USUAL))  # of each kind of fault
USUAL_EXAMPLES = 500
EXAMPLES = int(os.environ.get("SAGVIZ_EXAMPLES", USUAL_EXAMPLES))  # of hostile input, in all
LONG = MOMENTS > USUAL
