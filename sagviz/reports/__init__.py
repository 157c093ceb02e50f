"""Reports: a notebook run by papermill, and its page. The notebook uses what stands here."""

from sagviz.reports.parameters import Parameters as Parameters
from sagviz.reports.progress import announced as announced
from sagviz.reports.summary import summary as summary
