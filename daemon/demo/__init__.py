"""The demonstration: a drawn study (`phantom`), sent through a real daemon (`scene`), told to people (`telling`)."""
