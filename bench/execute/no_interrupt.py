"""Imported first by the server that children are forked from, and by nobody else: Ctrl-C is the parent's to handle.

The terminal sends it to the whole group; a server that is still importing torch would end in a stack trace.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
