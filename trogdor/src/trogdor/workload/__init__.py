"""Workloads, each a process of its own (``python -m trogdor.workload.produce_bench``) that speaks JSON lines.

An agent starts them as it starts any external command (``trogdor.agent.workloads`` knows which runs which spec).
"""
