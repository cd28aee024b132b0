"""Tokens: the order of sources, renewal, and that none ever shows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
import trio

from vsdk_trio.backend.token import TokenProvider, mint_token
from vsdk_trio.errors import ConnectError, TokenError

KEYS = {"VIDEOSDK_API_KEY": "key", "VIDEOSDK_SECRET_KEY": "s3cret-s3cret-s3cret-s3cret-s3cret"}


async def test_the_order_of_sources():
    environ = {**KEYS, "VIDEOSDK_AUTH_TOKEN": "from-env"}
    assert await TokenProvider("explicit", environ=environ).get() == "explicit"
    assert await TokenProvider(environ=environ).get() == "from-env"
    assert await TokenProvider("", environ=environ).get() == "from-env"
    assert (await TokenProvider(environ=KEYS).get()).count(".") == 2


async def test_the_environment_is_the_default_and_never_written(monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "from-env")
    assert await TokenProvider().get() == "from-env"
    environ = dict(KEYS)
    await TokenProvider(environ=environ).get()
    assert environ == KEYS


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_minted_token_is_what_videosdk_wants():
    token = mint_token("key", KEYS["VIDEOSDK_SECRET_KEY"], now=1000.5, ttl_seconds=60)
    header, payload, signature = token.split(".")
    assert json.loads(_decoded(header)) == {"alg": "HS256", "typ": "JWT"}
    signed = f"{header}.{payload}".encode()
    wanted = hmac.digest(KEYS["VIDEOSDK_SECRET_KEY"].encode(), signed, hashlib.sha256)
    assert _decoded(signature) == wanted
    claims = json.loads(_decoded(payload))
    assert claims == {
        "apikey": "key",
        "permissions": ["allow_join"],
        "version": 2,
        "iat": 940,  # a minute ago: for a clock that is a bit behind
        "exp": 1060,
    }


async def test_a_minted_token_is_renewed_at_four_fifths_of_its_life():
    clock = [0.0]
    provider = TokenProvider(environ=KEYS, ttl_seconds=100, now=lambda: clock[0])
    first = await provider.get()
    clock[0] = 79.0
    assert await provider.get() == first
    clock[0] = 80.0
    second = await provider.get()
    assert second != first
    clock[0] = 81.0
    assert await provider.get() == second
    assert await provider.get(fresh=True) != second


async def _claims(provider: TokenProvider, **asked: object) -> dict[str, int]:
    return json.loads(_decoded((await provider.get(**asked)).split(".")[1]))


async def test_a_token_that_was_refused_is_minted_for_the_clock_of_the_other():
    clock = [100_000.0]
    provider = TokenProvider(environ=KEYS, ttl_seconds=1000, now=lambda: clock[0])
    first = await _claims(provider, ahead_seconds=-5000.0)
    assert first["iat"] == 99_940  # nobody has refused one yet
    second = await _claims(provider, fresh=True, ahead_seconds=-5000.0)
    assert (second["iat"], second["exp"]) == (94_940, 96_000)
    clock[0] += 801
    renewed = await _claims(provider)
    assert renewed["iat"] == 95_741
    absurd = await _claims(provider, fresh=True, ahead_seconds=-90_000.0)
    assert absurd["iat"] == renewed["iat"]  # what was known before is kept


async def test_callables_sync_and_async():
    async def made_async():
        await trio.lowlevel.checkpoint()
        return "async-token"

    assert await TokenProvider(lambda: "sync-token").get() == "sync-token"
    assert await TokenProvider(made_async).get() == "async-token"
    TokenProvider(made_async).check()


async def test_a_callable_that_raises_is_one_failed_attempt():
    def broken():
        raise ValueError("with a secret in it")

    with pytest.raises(ConnectError, match="raised ValueError") as caught:
        await TokenProvider(broken).get()
    assert "secret" not in str(caught.value)

    def says_so():
        raise TokenError("ask the administrator")

    with pytest.raises(TokenError, match="administrator"):
        await TokenProvider(says_so).get()


@pytest.mark.parametrize(
    ("environ", "match"),
    [({}, "no VideoSDK token: pass"), ({"VIDEOSDK_API_KEY": "k"}, "only one of the two")],
)
async def test_no_token_says_what_to_do(environ, match):
    with pytest.raises(TokenError, match=match):
        TokenProvider(environ=environ).check()
    with pytest.raises(TokenError, match="VIDEOSDK_SECRET_KEY"):
        await TokenProvider(environ=environ).get()


@pytest.mark.parametrize(
    ("token", "match"),
    [
        ("Bearer abc", "Bearer"),
        ("abc\ndef", "white space"),
        ("a b", "white space"),
        ("a\x00b", "characters"),
        ("ümlaut", "characters"),
    ],
)
async def test_a_malformed_token_is_said_and_not_quoted(token, match):
    for provider in (
        TokenProvider(token, environ={}),
        TokenProvider(environ={"VIDEOSDK_AUTH_TOKEN": token}),
        TokenProvider(lambda: token),
    ):
        with pytest.raises(TokenError, match=match) as caught:
            await provider.get()
        assert token not in str(caught.value)


@pytest.mark.parametrize(("made", "match"), [("", "is empty"), (None, "not a string but NoneType")])
async def test_a_callable_that_makes_no_token(made, match):
    with pytest.raises(TokenError, match=match):
        await TokenProvider(lambda: made).get()


async def test_nothing_secret_in_the_repr():
    provider = TokenProvider("opaque-token", environ=KEYS)
    minting = TokenProvider(environ=KEYS)
    minted = await minting.get()
    shown = repr(provider) + repr(minting)
    for secret in ("opaque-token", minted, KEYS["VIDEOSDK_SECRET_KEY"]):
        assert secret not in shown
