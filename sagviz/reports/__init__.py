"""Reports: a notebook run by papermill, and its page."""
