"""A Patroni that hangs while its PostgreSQL goes on, without a watchdog: there are two primaries until it wakes up (`patroni.py`).

What holds then is that the old one acknowledges nothing, because its only standby follows it no more, and that it steps back.
"""

from __future__ import annotations

import os
import signal
import time

from tests import rig
from tests.crash.crowd import PLENTY, Crowd
from tests.ship import patroni
from tests.ship.patroni import FAILOVER_S, log


def test_a_patroni_that_hung_steps_back_and_what_its_successor_acknowledged_stays() -> None:
    patroni.programs()
    with patroni.pair() as pair, patroni.shop(pair) as town:
        servers = [town.born("serve"), town.born("serve")]
        town.born("work")
        rig.query(town.dsn, "CREATE TABLE kept (n int)")
        with Crowd(servers, size=4, basket=PLENTY, patience_s=90) as crowd:
            time.sleep(1)
            old = pair.primary()
            (heir,) = [node for node in pair.nodes if node is not old]
            assert old.process is not None
            os.kill(old.process.pid, signal.SIGSTOP)
            pair.wait(heir.is_primary, "nobody takes its place", FAILOVER_S)
            rig.query(pair.dsn_of(heir), "INSERT INTO kept VALUES (1)")
            before = crowd.bought
            time.sleep(3)
            log.info("bought in three seconds with two primaries: %d", crowd.bought - before)
            os.kill(old.process.pid, signal.SIGCONT)
            took_s = pair.wait(lambda: old.says().get("role") == "replica", "it does not step back")
            log.info("it steps back after %.1f s", took_s)
            assert pair.primary() is heir
            before = crowd.bought
            pair.wait(lambda: crowd.bought > before, "nobody can buy", FAILOVER_S)
            crowd.go_home()
        assert rig.query(pair.dsn_of(heir), "SELECT n FROM kept") == [{"n": 1}]
        assert patroni.judge(town, servers[0], crowd) == []
