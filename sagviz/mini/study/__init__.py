"""When SAG helps the miniature, and why: settings, pictures and figures of `make study`."""
