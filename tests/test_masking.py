"""What must not be read in a text is not; what may be, is left; and no text takes long."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio._masking import (
    MASK,
    MAX_PASSING,
    MAX_SECRETS,
    MAX_WHOLE_CHARS,
    Masker,
    mask_patterns,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJhcGlrZXkiOiJrIn0.c2lnbmF0dXJl"
K = "KeyMaterial"


def knowing(*secrets: str) -> Masker:
    masker = Masker()
    masker.hide(*secrets)
    return masker


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"refused {JWT}: expired", "refused ***: expired"),
        (f"GET /?x%3D{JWT}", "GET /?x%3D***"),
        (f"\\n{JWT}", "\\n***"),
        (JWT[:30], "***"),
        (base64.b64encode(JWT.encode()).decode().rstrip("="), "***"),
        ("Bearer abcd-efgh", "Bearer ***"),
        ("authorization: bearer abcd-efgh", "authorization: bearer ***"),
        ("'Authorization': 'opaque-token'", "'Authorization': '***'"),
        ("(b'authorization', b'opaque-token')", "(b'authorization', b'***')"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("sent Basic dXNlcjpwYXNz to it", "sent Basic *** to it"),
        ("Authorization: Token abcdef", "Authorization: Token ***"),
        ("Token 0123456789abcdef0123456789abcdef01234567", "Token ***"),
        ("wss://host/agent?token=abc-1&room=r", "wss://host/agent?token=***&room=r"),
        ("a%3Ftoken%3Dabc-1%26room%3Dr", "a%3Ftoken%3D***%26room%3Dr"),
        ("a%253Ftoken%253Dabc-1%2526room", "a%253Ftoken%253D***%2526room"),
        ("%7B%22token%22%3A%22abc-1%22%7D", "%7B%22token%22%3A%22***%22%7D"),
        ("?client_secret=s3cret#x", "?client_secret=***"),
        (f"https://x/v1?key={K}&alt=json", "https://x/v1?key=***&alt=json"),
        (f"https://x/b?sv=1&sig={K}", "https://x/b?sv=1&sig=***"),
        (f"https://x/b?X-Amz-Signature={K}&x=1", "https://x/b?X-Amz-Signature=***&x=1"),
        ('{"auth_token": "abc", "room": "r"}', '{"auth_token": "***", "room": "r"}'),
        ('{\\"auth_token\\": \\"abc\\"}', '{\\"auth_token\\": \\"***\\"}'),
        ('"password": "more words than one"', '"password": "***"'),
        ("RoomOptions(auth_token='abc', name='n')", "RoomOptions(auth_token='***', name='n')"),
        (f"x-api-key: {K}", "x-api-key: ***"),
        (f"xi-api-key: {K}", "xi-api-key: ***"),
        (f"Ocp-Apim-Subscription-Key: {K}", "Ocp-Apim-Subscription-Key: ***"),
        (f"{{'x-api-key': '{K}'}}", "{'x-api-key': '***'}"),
        (f"(b'x-api-key', b'{K}')", "(b'x-api-key', b'***')"),
        ("password: hunter2two", "password: ***"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key = ***"),
        ("https://user:p@ss@proxy:3128/x", "https://***@proxy:3128/x"),
        ("socks5h://user@proxy", "socks5h://***@proxy"),
        (f"{'x' * 40}https://me:pw@proxy", f"{'x' * 40}https://***@proxy"),
        ("https%3A%2F%2Fuser%3Ap%40proxy", "https%3A%2F%2F***%40proxy"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----", "***"),
        ("Incorrect API key provided: sk-proj-abcDEF1234567", "Incorrect API key provided: ***"),
        ("sk-ant-api03-AbCd1234567890", "***"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "***"),
        ("gsk_ABCdef1234567890", "***"),
        ("xai-ABCdef1234567890", "***"),
        ("hf_ABCdefghijklmnop", "***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("ghp_0123456789abcdefghij", "***"),
        ("k%3Dsk-1234567890abcd", "k%3D***"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert mask_patterns(text) == masked
    assert mask_patterns(masked) == masked, "masking twice changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "prompt_tokens=512 completion_tokens=3 max_tokens: 128000",
        "the token is expired; give another key",
        "the token: expired",
        "token=None secret=null api_key=... (a token of your own)",
        "others need the token: Authorization: Bearer ...",
        "set Options(debug_token=...) or VSDK_TRIO_DEBUG_TOKEN",
        "mail somebody@example.com about https://example.com/a@b",
        "eyJ is how they begin",
        "Basic authentication is required; Bearer token missing; Bearer authentication",
        "job 3f2b8a52-1c3d-4e5f-8a9b-0c1d2e3f4a5b ended in room abcd-efgh-ijkl",
        "worker vsdk-1234567890abcdef of commit 6b5eed4c0123456789abcdef0123456789abcdef",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/usr/lib/python3.11/site-packages/trio/_core/_run.py:1234 in Runner.run",
        "/data/keys/key-0123456789abcdef.pem /disk-sda1-0123456789ab /task-0123456789abcdef01",
        '  File "agent.py", line 3, in f\n    await connect(token=token, api_key=self._api_key)',
        '    headers={"Authorization": token}, auth_token=options.auth_token)',
        "    self._token = options.auth_token\n    token = make_token()\n    token=fetch(1)",
        "    token: str | None = None\n    secret = os.environ['X']",
        "sort key: created, monkey: 123456789, keyboard interrupt, Asia/Kolkata",
        "hf_hub_download sk-learn-estimators-are-fine risk-0123456789012345",
        "wss://host:8080/agent?room=r&key-id=1 http://127.0.0.1:8081/debug/tasks",
        "mac a4:5e:60:c2:11:0b at 2026-01-31T12:00:00.123Z for 1800000000.123 s",
    ],
)
def test_ordinary_text_is_left(text: str) -> None:
    assert mask_patterns(text) == text


PLAIN = st.text(st.characters(exclude_characters="*"), max_size=50)
SECRETS = st.text(st.characters(min_codepoint=43, max_codepoint=0x2FF), min_size=6, max_size=40)


@given(secret=SECRETS, before=PLAIN, after=PLAIN)
def test_a_known_secret_is_nowhere_in_what_comes_out(secret: str, before: str, after: str) -> None:
    masker = knowing(secret)
    # The mask is taken out again as a separator: what is left of it and right of it is not joined.
    assert secret not in masker.text(f"{before}{secret}{after}")
    value = masker.value({"x": [secret, {"y": f"{before} {secret}"}], "auth_token": secret})
    assert value["auth_token"] == MASK
    assert secret not in value["x"][0]
    assert secret not in value["x"][1]["y"]
    assert secret not in str(masker.answer({"x": [secret], "y": (before, f"{secret} {after}")}))


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=40),
    before=st.binary(max_size=2),
    after=st.binary(max_size=2),
)
def test_a_known_secret_is_masked_however_it_is_written(
    secret: str, before: bytes, after: bytes
) -> None:
    masker = knowing(secret)
    quoted = quote(secret, safe="")
    for form in (quoted, quote(quoted, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assert form not in masker.text(f"<{form}>")
    data = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + data + after).decode()
        shown = masker.text(encoded).split(MASK)
        # What is left decodes to no more than the secret's ends, which share a group of four.
        assert max(map(len, shown)) <= 8, (encoded, shown)


@given(
    pad=st.integers(0, 200),
    most=st.integers(20, 200),
    keep_end=st.booleans(),
)
def test_no_cut_leaves_half_a_secret(pad: int, most: int, keep_end: bool) -> None:
    secret = "opaque-token-0123456789-abcdefghij"
    text = "x" * pad + secret + "y" * (200 - pad)
    shown = knowing(secret).cut(text, most, keep_end=keep_end)
    assert len(shown) <= most
    assert not any(secret[n : n + 8] in shown for n in range(len(secret) - 8))


def test_of_several_forms_that_begin_alike_the_right_one_is_masked() -> None:
    secret = "opaque-token-0123456789+of/a=job"
    for form in (secret, quote(secret, safe=""), secret[:28]):
        assert knowing(secret, f"{secret}-longer").text(f"<{form}>") == "<***>"


def test_what_somebody_else_has_cut_is_masked_as_far_as_it_goes() -> None:
    secret = "opaque-token-0123456789-abcdefghij"
    for length in range(16, len(secret)):
        assert knowing(secret).text(f"it says {secret[:length]}") == "it says ***"


@pytest.mark.parametrize("keep_end", [False, True])
@pytest.mark.parametrize("shift", range(-40, 41, 5))
def test_a_huge_text_is_cut_far_from_any_secret(shift: int, keep_end: bool) -> None:
    secret = "opaque-token-0123456789-abcdefghij"
    at = MAX_WHOLE_CHARS + shift
    text = "y" * at + secret + "y" * at
    shown = knowing(secret).cut(text, MAX_WHOLE_CHARS, keep_end=keep_end)
    assert not any(secret[n : n + 8] in shown for n in range(len(secret) - 8))


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
        *("eyJ", "eyJa.", "eyJ-", "ZXlK", "a://b@", "://a@a", "bearer ", "basic ", "Token a"),
        *("token: '", "token=", "token%3D", "token = a.", "secret_", "authorization: basic "),
        *("%3A%2F%2F", "%25", "sk-", "sk-a", "hf_a", "-----BEGIN PRIVATE KEY-----", "?key="),
        *(" ", "a.", "aaaa", "key", '\\"token', "x-api-key:", "passwd:"),
    ],
)
def test_no_text_takes_long(evil: str) -> None:
    """Linear: what is quadratic takes seconds for such a text."""
    text = "token" + evil * (64_000 // len(evil))
    started = time.process_time()
    mask_patterns(text)
    assert time.process_time() - started < 0.5


def test_only_so_many_secrets_are_kept_and_none_that_is_too_short() -> None:
    masker = knowing("abc")
    assert masker.text("abc") == "abc"
    masker.hide(*(f"hidden-{number:03d}" for number in range(MAX_SECRETS + 1)))
    assert masker.text("hidden-000 hidden-001") == "hidden-000 ***"
    masker.hide_passing(*(f"passing-{number:03d}" for number in range(MAX_PASSING + 1)))
    # What comes and goes, goes; what lasts is kept all the same.
    assert masker.text("passing-000 passing-001 hidden-001") == "passing-000 *** ***"
    masker.hide_passing(JWT)
    assert masker.text(JWT) == MASK


@pytest.mark.parametrize(
    ("variable", "value", "text", "masked"),
    [
        ("OPENAI_API_KEY", "plain-provider-key", "no plain-provider-key", "no ***"),
        ("VIDEOSDK_SECRET_KEY", "abcd1234efgh", "abcd1234efgh", "***"),
        ("DB_PASSWORD", "correct-horse", "correct-horse", "***"),
        ("VSDK_TRIO_REGISTRY_TOKEN", "reg1stry-token", "reg1stry-token", "***"),
        ("HTTPS_PROXY", "http://me:passw0rd@proxy:1", "passw0rd", "***"),
        ("DATABASE_URL", "postgres://me:dbpassw0rd@db/x", "dbpassw0rd", "***"),
        # What is none: words that texts are made of, paths, other variables.
        ("REGISTRY_TOKEN", "local", "a local thing", "a local thing"),
        ("DB_PASSWORD", "postgres", "postgres is down", "postgres is down"),
        ("SSL_KEY", "/etc/ssl/private.pem", "/etc/ssl/private.pem", "/etc/ssl/private.pem"),
        ("PWD", "/work/agent-one", "/work/agent-one", "/work/agent-one"),
        ("TOKEN_FILE_NAME", "file-name-one", "file-name-one", "file-name-one"),
    ],
)
def test_the_environment_names_its_secrets(
    variable: str, value: str, text: str, masked: str
) -> None:
    masker = Masker()
    masker.hide_environment({variable: value})
    assert masker.text(text) == masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("all is well", "all is well"),
        ("a\nb\x1b[2J", "a b [2J"),
        (" the token is s3cret! ", "the token is ***!"),
        ("x" * 99, "x" * 30),
        ("x" * 29 + "s3cret", "x" * 29 + "*"),
        ("", ""),
    ],
)
def test_what_a_peer_wrote_is_masked_and_then_cut(text: str, shown: str) -> None:
    assert knowing("", "a", "s3cret").peer_text(text, most=30) == shown


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
