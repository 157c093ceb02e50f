"""`sagviz app`: Playground, Microscope and Preference as a page for a class without notebooks.

The page's scripts are those of ipywidgets and anywidget, as these packages ship them, and one of
our own, which speaks with the server: no other part of either is reached.
"""
