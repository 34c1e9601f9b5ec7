"""`python -m daemon.cli` is `kopru`."""

from daemon.cli import main

main()
