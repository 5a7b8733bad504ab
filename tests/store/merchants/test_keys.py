"""API keys: shown once, kept as a hash, and dead in the moment in which they are revoked."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest
from tests.factories import Shop, at_once, open_shop, world

from kassa import merchants
from kassa.kit.database import Database
from kassa.kit.ids import new_id
from kassa.merchants import ApiKey
from kassa.merchants.model import SCOPES, InvalidApiKey, KeyMissing


async def make(shop: Shop, name: str = "a key", scopes: tuple[str, ...] = SCOPES, secret: str | None = None) -> tuple[ApiKey, str]:
    async with shop.db.transaction("keys") as tx:
        made = await merchants.issue_key(tx, shop.merchant_id, name, scopes, secret=secret)
    assert made is not None
    return made


async def revoke(shop: Shop, key: ApiKey) -> None:
    async with shop.db.transaction("keys") as tx:
        await merchants.revoke_key(tx, shop.merchant_id, key.key_id)


async def test_a_key_is_32_random_bytes_and_shows_the_first_of_them(shop: Shop) -> None:
    made = [await make(shop) for _ in range(20)]
    assert all(re.fullmatch(r"sk_[A-Za-z0-9_-]{43}", secret) for _, secret in made)
    assert len({secret for _, secret in made}) == 20
    assert all(key.prefix == secret[:8] for key, secret in made)


async def test_at_rest_there_is_only_its_hash(shop: Shop) -> None:
    key, secret = await make(shop)
    rows = await shop.db.rows("SELECT to_jsonb(k)::text AS told FROM api_keys k WHERE merchant_id = $1", shop.merchant_id)
    hashes = await shop.db.rows("SELECT key_hash FROM api_key_hashes WHERE key_id = $1", key.key_id)
    assert [bytes(row["key_hash"]) for row in hashes] == [hashlib.sha256(secret.encode()).digest()]
    assert [row["told"].count(secret[8:]) for row in rows] == [0]
    listed = await merchants.find_keys(shop.db, shop.merchant_id)
    assert secret[8:] not in repr(listed)


async def test_scopes_are_kept_once_in_the_order_of_the_contract_and_unknown_ones_not_at_all(shop: Shop) -> None:
    key, _ = await make(shop, scopes=("keys:manage", "payments:read", "payments:read", "root"))
    assert key.scopes == ("payments:read", "keys:manage")


async def test_a_revoked_key_is_refused_by_the_next_request_of_every_process(shop: Shop, kassa_dsn: str) -> None:
    key, secret = await make(shop)
    there = await Database.connect(kassa_dsn, size=2)
    try:
        for ctx in (shop.ctx, world(there)):
            assert await merchants.identify(ctx, api_key=secret, merchant_id=None, trusted=False) is not None
        await revoke(shop, key)
        for ctx in (shop.ctx, world(there)):
            with pytest.raises(InvalidApiKey):
                await merchants.identify(ctx, api_key=secret, merchant_id=None, trusted=False)
    finally:
        await there.close()


async def test_revoked_twice_the_first_time_stays(shop: Shop) -> None:
    key, _ = await make(shop)
    await revoke(shop, key)
    (first,) = await merchants.find_keys(shop.db, shop.merchant_id)
    await revoke(shop, key)
    assert await merchants.find_keys(shop.db, shop.merchant_id) == [first]
    assert first.revoked_at is not None


async def test_a_strangers_key_cannot_be_revoked(shop: Shop) -> None:
    key, secret = await make(shop)
    stranger = await open_shop(shop.ctx)
    for who, which in ((stranger, key), (shop, replace(key, key_id=new_id()))):
        with pytest.raises(KeyMissing):
            await revoke(who, which)
    assert await merchants.identify(shop.ctx, api_key=secret, merchant_id=None, trusted=False) is not None
    assert await merchants.find_keys(shop.db, stranger.merchant_id) == []


async def test_the_secret_of_demo_data_is_taken_once_however_often_it_is_loaded(shop: Shop) -> None:
    secret = f"sk_demo_{shop.merchant_id}"

    async def load() -> object:
        async with shop.db.transaction("seed") as tx:
            return await merchants.issue_key(tx, shop.merchant_id, "demo", SCOPES, secret=secret)

    made = await at_once(*(load() for _ in range(10)))
    assert sum(each is not None for each in made) == 1
    assert len(await merchants.find_keys(shop.db, shop.merchant_id)) == 1


async def test_keys_are_listed_oldest_first_revoked_ones_too(shop: Shop) -> None:
    made = [await make(shop, f"key {n}") for n in range(3)]
    await revoke(shop, made[1][0])
    listed = await merchants.find_keys(shop.db, shop.merchant_id)
    assert [key.name for key in listed] == ["key 0", "key 1", "key 2"]
    assert [key.revoked_at is None for key in listed] == [True, False, True]


async def test_what_rolls_back_made_no_key(shop: Shop) -> None:
    secrets = []
    with pytest.raises(ZeroDivisionError):
        async with shop.db.transaction("keys") as tx:
            made = await merchants.issue_key(tx, shop.merchant_id, "never", SCOPES)
            assert made is not None
            secrets.append(made[1])
            raise ZeroDivisionError
    with pytest.raises(InvalidApiKey):
        await merchants.identify(shop.ctx, api_key=secrets[0], merchant_id=None, trusted=False)
