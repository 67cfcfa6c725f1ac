"""Trogdor's daemons on machines that are reached by ssh: installed, started, checked, removed.

A machine is an account with ducktape's `ssh`, `ssh_output` and `copy_to`: ducktape's own, or `SshAccount`. Imports the
standard library only, because ducktape has an environment of its own.
"""
