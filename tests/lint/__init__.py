"""The checks of `make lint`, as programs to run (`checks`) and as the project's own rules (`rules`)."""
