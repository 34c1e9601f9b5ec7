"""Instances that hold nothing of their patient where they may not: what scanners and workstations write, drawn anew.

Written from the standard's IODs and from what devices commonly write, not from the engine. The same seed gives the same
instances; no person is meant.
"""

from benchmarks.clean_instances.people import Person, draw_person
from benchmarks.clean_instances.templates import TEMPLATES, make

__all__ = ["TEMPLATES", "Person", "draw_person", "make"]
