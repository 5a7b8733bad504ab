"""A shop among three neighbours that a test can script, and a way to tell what happened to one buyer there."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
from tests import rig

from .journeys import Json, Shop, buy, id_of, line, look, order_form, the_end, visitor
from .neighbours import Act, Call, Neighbours, Reaction

if TYPE_CHECKING:
    from tests.rig import Server

# Processes that share a database share this (ruling 34); without it each would make one of its own.
SHARED_SECRET = base64.b64encode(b"thirty-two bytes that we all use").decode()

Plan = Reaction | list[Reaction]


def the_books_are_in_order(server: Server) -> None:
    """`kassa verify` recomputes every invariant from the tables and finds no breach."""
    environment = rig.clean_environment(DATABASE_URL=server.dsn, KASSA_HOME=str(server.home), PRODUCTION="false")
    found = subprocess.run(
        [sys.executable, "-m", "kassa", "verify", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


@dataclass(frozen=True)
class Story:
    """What one buyer was answered, after how long, and how the checkout reads in the end."""

    neighbours: Neighbours
    answer: httpx2.Response
    took: float
    end: Json

    @property
    def checkout_id(self) -> str:
        return id_of(self.answer)

    @property
    def acts(self) -> list[str]:
        return self.neighbours.acts(self.checkout_id)

    def calls(self, *acts: Act) -> list[Call]:
        return self.neighbours.calls(self.checkout_id, *acts)

    def done(self, act: Act) -> int:
        return self.neighbours.done(self.checkout_id, act)

    @property
    def outcome(self) -> tuple[str, int, int]:
        """How it ended, how often it was charged and how often refunded."""
        return self.end["status"], self.done("process"), self.done("refund")


@dataclass(frozen=True)
class Town:
    """One Kassa and its neighbours."""

    shop: Shop
    neighbours: Neighbours

    def play(self, form: Json | None = None, key: str | None = None, within: float = 40.0, **plan: Plan) -> Story:
        """A guest buys while the neighbours follow the plan; wait for the end, or take what is there after `within`."""
        form = form or order_form()
        self.neighbours.for_buyer(form["customer_email"], **plan)
        with visitor(self.shop) as guest:
            start = time.monotonic()
            answer = buy(guest, form, key)
            took = time.monotonic() - start
            with contextlib.suppress(AssertionError):
                the_end(guest, id_of(answer), within)
            return Story(self.neighbours, answer, took, look(guest, id_of(answer)))

    def play_all(self, plans: dict[str, dict[str, Any]], apart: float = 0.25) -> dict[str, Story]:
        """Play many stories at the same time, each begun a moment after the one before."""
        told: dict[str, Story] = {}
        trouble: list[tuple[str, BaseException]] = []

        def tell(name: str, plan: dict[str, Any]) -> None:
            try:
                told[name] = self.play(**plan)
            except BaseException as error:  # shown below
                trouble.append((name, error))

        threads = [threading.Thread(target=tell, args=each) for each in plans.items()]
        for thread in threads:
            thread.start()
            time.sleep(apart)
        for thread in threads:
            thread.join()
        assert not trouble, trouble
        return told

    @contextlib.contextmanager
    def kept_busy(self) -> Iterator[list[int]]:
        """Ordinary buyers go on buying meanwhile; gives the statuses they got.

        They also keep the breakers closed: five unanswered calls in a row never come together.
        """
        statuses: list[int] = []
        enough = threading.Event()

        def shopping() -> None:
            with visitor(self.shop) as guest:
                while not enough.wait(0.05):
                    statuses.append(buy(guest, order_form(line("prod_011"))).status_code)

        thread = threading.Thread(target=shopping)
        thread.start()
        try:
            yield statuses
        finally:
            enough.set()
            thread.join()
