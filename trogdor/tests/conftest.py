"""What every test stands on: signals as a terminal's programs have them, whoever started the run.

A shell that runs us in the background, or ``nohup``, leaves SIGINT or SIGHUP ignored, and our daemons inherit that.
"""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
