"""What must not be read in a text is not; what may be, is left; and no text takes long."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio._masking import MASK, MAX_SECRETS, Masker, mask_known, mask_patterns

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJhcGlrZXkiOiJrIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"refused {JWT}: expired", "refused ***: expired"),
        (f"GET /?x%3D{JWT}", "GET /?x%3D***"),
        ("Bearer abcd-efgh", "Bearer ***"),
        ("authorization: bearer abcd-efgh", "authorization: bearer ***"),
        ("'Authorization': 'opaque-token'", "'Authorization': '***'"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("wss://host/agent?token=abc-1&room=r", "wss://host/agent?token=***&room=r"),
        ("?client_secret=s3cret#x", "?client_secret=***"),
        ('{"auth_token": "abc", "room": "r"}', '{"auth_token": "***", "room": "r"}'),
        ("RoomOptions(auth_token='abc', name='n')", "RoomOptions(auth_token='***', name='n')"),
        ("https://user:p@ss@proxy:3128/x", "https://***@proxy:3128/x"),
        ("socks5h://user@proxy", "socks5h://***@proxy"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert mask_patterns(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "prompt_tokens=512 completion_tokens=3",
        "the token is expired; give another key",
        "token=None secret=null",
        "mail somebody@example.com about https://example.com/a@b",
        "eyJ is how they begin",
    ],
)
def test_what_only_talks_of_secrets_is_left(text: str) -> None:
    assert mask_patterns(text) == text


PLAIN = st.text(st.characters(exclude_characters="*"), max_size=50)


@given(
    secret=st.text(st.characters(min_codepoint=43, max_codepoint=0x2FF), min_size=6, max_size=40),
    before=PLAIN,
    after=PLAIN,
)
def test_a_known_secret_is_nowhere_in_what_comes_out(secret: str, before: str, after: str) -> None:
    masker = Masker([secret])
    # The mask is taken out again as a separator: what is left of it and right of it is not joined.
    assert secret not in masker.text(f"{before}{secret}{after}")
    value = masker.value({"x": [secret, {"y": f"{before} {secret}"}], "auth_token": secret})
    assert value["auth_token"] == MASK
    assert secret not in value["x"][0]
    assert secret not in value["x"][1]["y"]


@given(PLAIN, st.sampled_from([JWT, "Bearer abcdefgh12", "?token=abcdefgh12&x"]))
def test_a_secret_among_anything_is_masked(text: str, secret: str) -> None:
    masked = mask_patterns(f"{text} {secret} {text}")
    assert "abcdefgh12" not in masked.replace(text, "")
    assert JWT not in masked


@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_every_value_comes_out_as_json_has_it(value: object) -> None:
    json.dumps(Masker().value({"x": value}), allow_nan=False)


@pytest.mark.parametrize(
    "evil",
    [
        "eyJ",
        "eyJa.",
        "eyJ-",
        "a://b@",
        "://a@a",
        "bearer ",
        "token: '",
        "authorization: basic ",
        " ",
    ],
)
def test_no_text_takes_long(evil: str) -> None:
    """Linear: what is quadratic takes seconds for such a text."""

    text = "token" + evil * (64_000 // len(evil))
    started = time.perf_counter()
    mask_patterns(text)
    assert time.perf_counter() - started < 0.5


def test_only_so_many_secrets_are_kept_and_none_that_is_too_short() -> None:
    masker = Masker(["abc"])
    assert masker.text("abc") == "abc"
    masker.hide(f"hidden-{number:03d}" for number in range(2 * MAX_SECRETS))
    assert masker.text("hidden-000 hidden-127") == "hidden-000 ***"


def test_a_secret_is_masked_as_urls_quote_it() -> None:
    assert mask_known("?t=p%40ss%2Fword", ["p@ss/word"]) == "?t=***"


class Odd:
    def __str__(self) -> str:
        raise ValueError


def test_odd_values_become_texts() -> None:
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    value = Masker().value({"odd": Odd(), "bytes": b"x", "nan": float("nan"), "deep": deep})
    assert value["odd"] == "<Odd: its text raises ValueError>"
    assert (value["bytes"], value["nan"]) == ("b'x'", "nan")
    assert str(value["deep"]).count("[") <= 60
