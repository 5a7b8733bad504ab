"""Kassa on two database hosts as deploy/patroni describes them: one is killed, comes back, and changes places with the other (`patroni.py`).

One story, because each change begins where the last one ended, and each takes the seconds that Patroni's `ttl` wants.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.crash.crowd import PLENTY, Crowd
from tests.ship import patroni
from tests.ship.patroni import FAILOVER_S, LOOP_S, log, nobody_buys

SWITCHOVER_S, ALONE_S = 15, 2 * LOOP_S + 5
"""So long nobody may be able to buy while two change places, and after the death of the standby."""


@pytest.fixture
def pair() -> Iterator[patroni.Pair]:
    patroni.programs()
    with patroni.pair() as made:
        yield made


def test_the_shop_goes_on_by_itself_whichever_database_host_dies(pair: patroni.Pair) -> None:
    """Killed, back as a standby, a planned change of places, the standby killed: nothing that was acknowledged is lost."""
    with patroni.shop(pair) as town:
        servers = [town.born("serve"), town.born("serve")]
        town.born("work")
        with Crowd(servers, size=8, basket=PLENTY, patience_s=60) as crowd:
            time.sleep(2)
            old = pair.primary()
            with nobody_buys("the primary is killed", crowd, FAILOVER_S):
                old.kill()
            new = pair.primary()
            assert new is not old
            old.start()
            log.info("the old primary is a standby again after %.1f s", pair.wait_for_pair())
            assert pair.standby() is old
            with nobody_buys("they change places", crowd, SWITCHOVER_S):
                pair.ctl("switchover", "--leader", new.name, "--candidate", old.name, "--force")
            assert pair.primary() is old
            pair.wait_for_pair()
            with nobody_buys("the standby is killed", crowd, ALONE_S):
                new.kill()
            crowd.go_home()
        assert patroni.judge(town, servers[0], crowd) == []
