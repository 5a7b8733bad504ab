"""Who calls: every cell of the table in section 2 of the payments contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from tests.factories import Shop, open_shop

from kassa import merchants
from kassa.kit.context import Context
from kassa.merchants import Caller
from kassa.merchants.model import SCOPES, TRUSTED_SCOPES, InvalidApiKey, MerchantMismatch, Unauthorized, UnknownMerchant


@dataclass(frozen=True)
class Two:
    """Two merchants, and keys of the first one."""

    mine: Shop
    other: Shop
    secret: str
    reading: str
    revoked: str


@pytest_asyncio.fixture(loop_scope="session")
async def two(ctx: Context) -> AsyncIterator[Two]:
    mine, other = await open_shop(ctx), await open_shop(ctx)
    secrets = []
    async with ctx.db.transaction("keys") as tx:
        for name, scopes in (("all", SCOPES), ("reading", ["payments:read"]), ("lost", SCOPES)):
            made = await merchants.issue_key(tx, mine.merchant_id, name, scopes)
            assert made is not None
            secrets.append(made)
        await merchants.revoke_key(tx, mine.merchant_id, secrets[2][0].key_id)
    yield Two(mine, other, *(secret for _, secret in secrets))


async def who(ctx: Context, key: str | None, merchant_id: str | None, *, trusted: bool) -> Caller | None:
    return await merchants.identify(ctx, api_key=key, merchant_id=merchant_id, trusted=trusted)


async def test_behind_a_gateway_the_named_merchant_calls_and_may_do_all_but_make_keys(ctx: Context, two: Two) -> None:
    caller = await who(ctx, None, two.mine.merchant_id, trusted=True)
    assert caller is not None
    assert (caller.merchant.merchant_id, caller.scopes, caller.key_id) == (two.mine.merchant_id, TRUSTED_SCOPES, None)


async def test_without_a_gateway_a_bare_name_is_nobody(ctx: Context, two: Two) -> None:
    with pytest.raises(Unauthorized):
        await who(ctx, None, two.mine.merchant_id, trusted=False)


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_key_alone_is_its_merchant_with_its_scopes(ctx: Context, two: Two, trusted: bool) -> None:
    caller = await who(ctx, two.reading, None, trusted=trusted)
    assert caller is not None
    assert (caller.merchant.merchant_id, caller.scopes) == (two.mine.merchant_id, frozenset({"payments:read"}))
    assert caller.key_id is not None


@pytest.mark.parametrize("trusted", [True, False])
async def test_key_and_name_that_agree_have_the_scopes_of_the_key(ctx: Context, two: Two, trusted: bool) -> None:
    caller = await who(ctx, two.reading, two.mine.merchant_id, trusted=trusted)
    assert caller is not None
    assert (caller.merchant.merchant_id, caller.scopes) == (two.mine.merchant_id, frozenset({"payments:read"}))


@pytest.mark.parametrize("trusted", [True, False])
async def test_key_and_name_that_differ_are_a_mismatch(ctx: Context, two: Two, trusted: bool) -> None:
    for name in (two.other.merchant_id, "nobody-of-that-name", ""):
        with pytest.raises(MerchantMismatch):
            await who(ctx, two.secret, name, trusted=trusted)


@pytest.mark.parametrize("trusted", [True, False])
async def test_who_says_nothing_is_nobody_and_the_surface_decides(ctx: Context, trusted: bool) -> None:
    assert await who(ctx, None, None, trusted=trusted) is None


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    "key",
    [
        "",
        "sk_",
        "sk_unknown",
        "pk_" + "x" * 43,
        "SK_demo",
        " sk_x",
        "sk_" + "x" * 253,
        "sk_\x00",
        "sk_ü",
        "revoked",
        "sk_' OR true --",
    ],
)
async def test_a_bad_key_is_never_ignored_in_favour_of_the_name(
    ctx: Context, two: Two, key: str, named: bool, trusted: bool
) -> None:
    with pytest.raises(InvalidApiKey):
        await who(ctx, two.revoked if key == "revoked" else key, two.mine.merchant_id if named else None, trusted=trusted)


@pytest.mark.parametrize("name", ["", "no such merchant", "1\x00", "\n", "x" * 500, "*"])
async def test_a_name_that_nobody_has_is_unknown(ctx: Context, name: str) -> None:
    with pytest.raises(UnknownMerchant):
        await who(ctx, None, name, trusted=True)


async def test_the_first_use_of_a_key_is_noted_and_then_once_a_minute(ctx: Context, two: Two) -> None:
    async def used() -> object:
        return await ctx.db.value("SELECT last_used_at FROM api_keys WHERE merchant_id = $1 AND name = 'all'", two.mine.merchant_id)

    caller = await who(ctx, two.secret, None, trusted=False)
    assert caller is not None
    assert caller.stale
    merchants.mark_used(ctx, caller)
    await ctx.background.drain(5)
    first = await used()
    assert first is not None
    again = await who(ctx, two.secret, None, trusted=False)
    assert again is not None
    assert not again.stale
    merchants.mark_used(ctx, again)
    await ctx.background.drain(5)
    assert await used() == first
    await ctx.db.execute(
        "UPDATE api_keys SET last_used_at = last_used_at - interval '61 s' WHERE merchant_id = $1", two.mine.merchant_id
    )
    later = await who(ctx, two.secret, None, trusted=False)
    assert later is not None
    assert later.stale
