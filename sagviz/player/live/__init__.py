"""The live page: one HTML file that runs the method itself, without Python, kernel or network.

Python exports the networks (`export`), takes the runtime out of its package (`runtime`) and packs
both with the settings (`parts`); the scripts beside this file are the worker that runs them.
"""
