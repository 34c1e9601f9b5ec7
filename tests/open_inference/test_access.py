"""Keys are admitted by their digest, and as often as they may."""

import hashlib

from adapters.open_inference import Access, ApiKey, new_api_key


def test_a_key_is_known_by_its_digest_and_nothing_else_is() -> None:
    key, digest = new_api_key()
    assert hashlib.sha256(key.encode()).hexdigest() == digest
    access = Access([ApiKey("lab", digest, 10), ApiKey("other", new_api_key()[1], 10)])
    client = access.client(f"Bearer {key}")
    assert client is not None
    assert client.name == "lab"
    assert access.client(f"bearer  {key} ") == client
    for wrong in ("", key, f"Basic {key}", "Bearer ", f"Bearer {digest}", f"Bearer {key}x", "Bearer \udcff"):
        assert access.client(wrong) is None


def test_keys_are_never_the_same() -> None:
    assert len({new_api_key()[0] for _ in range(100)}) == 100


def test_requests_beyond_the_rate_wait_until_there_is_room_again() -> None:
    now = [100.0]
    key = ApiKey("lab", "0" * 64, 60)
    access = Access([key], clock=lambda: now[0])
    assert [access.wait_seconds(key) for _ in range(60)] == [0.0] * 60
    assert access.wait_seconds(key) == 1.0
    now[0] += 0.5
    assert access.wait_seconds(key) == 0.5
    now[0] += 0.5
    assert access.wait_seconds(key) == 0.0
    now[0] += 3600
    assert [access.wait_seconds(key) > 0 for _ in range(61)] == [False] * 60 + [True]
