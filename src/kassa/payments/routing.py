"""Which provider serves an alias: rules by currency, amount and share, read in order; each payment keeps the reason.

A rule with a share below 100 takes that part of the payments that reach it, decided by the payment's id: the same payment always
goes the same way. Another provider is tried only after one that certainly did nothing (`Verdict.elsewhere`), never across silence.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kassa.kit.money import Money, fixed_text


@dataclass(frozen=True, slots=True)
class Rule:
    """One way out of an alias. Amounts are minor units of `currency`; None fits all."""

    position: int
    provider: str
    currency: str | None = None
    min_minor: int | None = None
    max_minor: int | None = None
    share: int = 100

    def fits(self, amount: Money) -> bool:
        """Whether the rule may serve this amount; its share is not looked at."""
        return (
            self.currency in {None, amount.currency}
            and (self.min_minor is None or amount.minor >= self.min_minor)
            and (self.max_minor is None or amount.minor <= self.max_minor)
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider and why it was chosen."""

    provider: str
    why: str


def choose(rules: Sequence[Rule], amount: Money, payment_id: uuid.UUID, tried: Collection[str] = ()) -> Choice | None:
    """The provider for a payment, None when no rule fits. `tried` ones are left out, and shares count no more then."""
    fitting = [rule for rule in rules if rule.fits(amount) and rule.provider not in tried]
    for rule in fitting[:-1]:
        if tried or _drawn(payment_id, rule.position) < rule.share:
            return Choice(rule.provider, _why(rule, amount, tried))
    return Choice(fitting[-1].provider, _why(fitting[-1], amount, tried)) if fitting else None


def _drawn(payment_id: uuid.UUID, position: int) -> int:
    """A number from 0 to 99 that is fixed for a payment and a rule."""
    return int.from_bytes(hashlib.sha256(payment_id.bytes + position.to_bytes(4, "big", signed=True)).digest()[:4], "big") % 100


def _why(rule: Rule, amount: Money, tried: Collection[str]) -> str:
    parts = [f"rule {rule.position}"]
    if rule.currency:
        parts.append(f"currency {rule.currency}")
    if rule.min_minor is not None:
        parts.append(f"from {fixed_text(rule.min_minor, amount.currency)}")
    if rule.max_minor is not None:
        parts.append(f"up to {fixed_text(rule.max_minor, amount.currency)}")
    if rule.share < 100 and not tried:
        parts.append(f"share {rule.share} %")
    if tried:
        parts.append(f"after {', '.join(sorted(tried))} had refused")
    return ", ".join(parts)
