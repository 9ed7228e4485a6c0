"""What a run leaves behind: the record schema, the append-only store, and tidy frames.

Imports the standard library and pandas only, so that a report can be made where torch is not installed.
"""
