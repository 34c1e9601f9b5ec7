"""The server that the tests of the remote backend talk to."""

from tests.peers.mlserver import mlserver as mlserver
