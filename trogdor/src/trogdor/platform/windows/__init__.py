"""Windows: plans and resources, as Linux's. They have never been run on Windows.

What is left for that: the agent's journal, warden and clocks are still Linux's (fcntl, pidfd, CLOCK_BOOTTIME).
"""

NEVER_RUN = "the plans for Windows are tested as plans; none has ever been run on Windows"
