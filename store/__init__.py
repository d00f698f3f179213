"""Everything on disk: the workspace, its artifacts and their formats, run journals, checkpoints and locks.

Knows engine.config, engine.errors and array shapes; never babytui. Arrays (and with them numpy) are imported only by
the functions that handle them, so that listing, renaming and deleting stay light.
"""
