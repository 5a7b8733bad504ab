"""Signatures: the contract's vector, another implementation as judge, and secrets that open for their endpoint alone."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys
from kassa.webhooks.model import SecretLost
from kassa.webhooks.sign import key_of, new_secret, open_secret, seal, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
KEYS, OTHER = Keys(b"a" * 32), Keys(b"b" * 32)


def judged(secret: str, id_: str, at: int, body: bytes, signature: str) -> None:
    """The other implementation's judgement; it raises."""
    headers = {"webhook-id": id_, "webhook-timestamp": str(at), "webhook-signature": signature}
    Webhook(secret).verify(body, headers)


def test_the_contracts_vector() -> None:
    assert sign([key_of(SECRET)], ID, AT, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.dictionaries(st.text(), st.integers()), st.integers(1, 3))
def test_another_implementation_agrees_whatever_is_sent(content: dict[str, int], many: int) -> None:
    import json

    body, now, id_ = json.dumps(content).encode(), int(datetime.now(UTC).timestamp()), str(new_id())
    secrets = [new_secret() for _ in range(many)]
    signature = sign([key_of(secret) for secret in secrets], id_, now, body)
    assert len(signature.split(" ")) == many
    for secret in secrets:
        judged(secret, id_, now, body, signature)
    for wrong in (sign([key_of(new_secret())], id_, now, body), sign([key_of(secrets[0])], id_, now, body + b" ")):
        with pytest.raises(WebhookVerificationError):
            judged(secrets[0], id_, now, body, wrong)


def test_the_newest_secret_stands_first() -> None:
    new, old = key_of(new_secret()), key_of(SECRET)
    assert sign([new, old], ID, AT, BODY).split(" ") == [sign([new], ID, AT, BODY), sign([old], ID, AT, BODY)]


def test_a_new_secret_is_32_random_bytes() -> None:
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32 for secret in made)
    assert all(len(key_of(secret)) == 32 for secret in made)


@pytest.mark.parametrize(
    "text", ["", "whsec", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "whsec_§"]
)
def test_what_is_no_secret_has_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        key_of(text)


def test_a_sealed_secret_opens_for_its_endpoint_alone() -> None:
    here, there = new_id(), new_id()
    sealed = seal(KEYS, here, SECRET)
    assert SECRET.encode() not in sealed
    assert open_secret(KEYS, here, sealed) == SECRET
    assert open_secret(KEYS, here, sealed) == SECRET, "from memory"
    for keys, endpoint_id in ((KEYS, there), (OTHER, here)):
        with pytest.raises(SecretLost) as lost:
            open_secret(keys, endpoint_id, sealed)
        assert SECRET not in str(lost.value)


def test_a_secret_outlives_the_rotation_of_the_installations_own() -> None:
    endpoint_id = new_id()
    sealed = seal(KEYS, endpoint_id, SECRET)
    assert open_secret(Keys(b"b" * 32, old=b"a" * 32), endpoint_id, sealed) == SECRET


def test_sealed_twice_it_is_not_the_same_twice() -> None:
    endpoint_id = new_id()
    assert seal(KEYS, endpoint_id, SECRET) != seal(KEYS, endpoint_id, SECRET)
