"""What a run leaves behind: `Step`, `Settings`, `Trace`."""
