"""The bodies of the child processes, a module each, each with ``run(settings, child)`` that returns when told to
stop.
"""
