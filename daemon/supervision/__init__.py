"""Processes: the supervisor of `kopru serve`, what each child does first, and the protocol between them."""
