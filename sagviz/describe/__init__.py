"""A run in words, computed from its numbers: the sentences about a step, and the words for each
quantity.
"""

from sagviz.describe.quantities import DECODED as DECODED
from sagviz.describe.quantities import FACED as FACED
from sagviz.describe.quantities import FIRST as FIRST
from sagviz.describe.quantities import NEAR as NEAR
from sagviz.describe.quantities import QUANTITIES as QUANTITIES
from sagviz.describe.quantities import facts as facts
from sagviz.describe.quantities import near as near
from sagviz.describe.quantities import of_panes as of_panes
from sagviz.describe.quantities import push_title as push_title
from sagviz.describe.sentences import NOTHING as NOTHING
from sagviz.describe.sentences import SHARES as SHARES
from sagviz.describe.sentences import WAYS as WAYS
from sagviz.describe.sentences import by_stretch as by_stretch
from sagviz.describe.sentences import file_stem as file_stem
from sagviz.describe.sentences import of_guidance as of_guidance
from sagviz.describe.sentences import of_run as of_run
from sagviz.describe.sentences import of_step as of_step
from sagviz.describe.sentences import quoted as quoted
