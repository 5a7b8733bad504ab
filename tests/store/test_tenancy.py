"""Every row belongs to a merchant, and every key says so first: read from PostgreSQL's own catalogue, not from what we meant to write.

So the tables can be spread over servers by merchant, and no key or reference can lead from one merchant's rows to another's. The
exceptions are named in `kassa/distribute.py`, each with its reason; whatever else is there is held to the rule.
"""

from __future__ import annotations

from kassa.distribute import COLUMN, ROOT, SHARED, kinds
from kassa.kit.database import Database

_TABLES = """
    SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
"""
_COLUMNS = (
    "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attname = 'merchant_id'"
)
_UNIQUE = """
    SELECT i.indexrelid::regclass::text AS name, i.indisprimary AS main, pg_get_indexdef(i.indexrelid, 1, true) AS first
      FROM pg_index i WHERE i.indrelid = $1::regclass AND (i.indisunique OR i.indisprimary OR i.indisexclusion)
"""
_FOREIGN = """
    SELECT k.conname AS name, k.confrelid::regclass::text AS other,
           (SELECT attname FROM pg_attribute WHERE attrelid = k.conrelid AND attnum = k.conkey[1]) AS here,
           (SELECT attname FROM pg_attribute WHERE attrelid = k.confrelid AND attnum = k.confkey[1]) AS there
      FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = $1::regclass
"""


async def tables(db: Database) -> set[str]:
    return {row["name"] for row in await db.rows(_TABLES)}


async def business(db: Database) -> list[str]:
    return sorted(await tables(db) - set(SHARED))


async def test_there_are_tables_and_every_exception_is_one_of_them(db: Database) -> None:
    found = await tables(db)
    assert len(found) > 25, "the catalogue was read where nothing is"
    assert set(SHARED) <= found


async def test_every_row_says_whose_it_is(db: Database) -> None:
    assert [name for name in await business(db) if not await db.rows(_COLUMNS, name)] == []


async def test_every_primary_key_begins_with_the_merchant(db: Database) -> None:
    wrong = []
    for name in await business(db):
        keys = [row for row in await db.rows(_UNIQUE, name) if row["main"]]
        if [row["first"] for row in keys] != ["merchant_id"]:
            wrong.append((name, [row["first"] for row in keys]))
    assert wrong == []


async def test_every_unique_index_begins_with_the_merchant(db: Database) -> None:
    found = [(name, row["name"], row["first"]) for name in await business(db) for row in await db.rows(_UNIQUE, name)]
    assert len(found) > len(await business(db)), "there are unique keys beside the primary ones"
    assert [each for each in found if each[2] != "merchant_id"] == []


async def test_every_reference_stays_with_its_merchant(db: Database) -> None:
    found = [(name, row) for name in await business(db) for row in await db.rows(_FOREIGN, name)]
    assert found
    assert [(name, row["name"]) for name, row in found if (row["here"], row["there"]) != ("merchant_id", "merchant_id")] == []
    assert {row["other"] for _, row in found} & set(SHARED) == set()


async def test_no_shared_table_leads_anywhere(db: Database) -> None:
    assert [(name, row["name"]) for name in SHARED for row in await db.rows(_FOREIGN, name)] == []


async def test_no_id_comes_from_a_sequence_and_nothing_happens_behind_the_code(db: Database) -> None:
    made = "relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
    assert await db.rows(f"SELECT relname FROM pg_class WHERE relkind = 'S' AND {made}") == []
    assert await db.rows("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
    assert (
        await db.rows(f"SELECT rulename FROM pg_rewrite JOIN pg_class c ON c.oid = ev_class WHERE {made} AND relkind = 'r'") == []
    )
    assert (
        await db.rows(f"SELECT attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE attidentity <> '' AND {made}")
        == []
    )


async def test_the_merchant_is_one_kind_of_thing_everywhere(db: Database) -> None:
    """Shards lie together only when their column has one type; a text that two spellings can equal cannot be spread."""
    found = await db.rows(
        """
        SELECT DISTINCT format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS needed, l.collisdeterministic AS exact,
               a.attgenerated::text AS made
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_collation l ON l.oid = a.attcollation
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attname = $1 AND c.relname <> ALL ($2)
        """,
        COLUMN, sorted(SHARED),
    )  # fmt: skip
    assert [tuple(row) for row in found] == [("text", True, True, "")]


async def test_references_touch_nothing_but_what_they_name(db: Database) -> None:
    """Where tables are spread a reference may neither empty the merchant nor be put off to the commit."""
    assert await db.rows(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND (confdeltype IN ('n', 'd') OR confupdtype <> 'a' OR condeferrable)"
    ) == []  # fmt: skip


async def test_every_table_lives_somewhere_when_tables_are_spread(db: Database) -> None:
    found = kinds(await tables(db))
    assert {"distributed", "reference", "local"} == set(found.values())
    assert found[ROOT] == "distributed"
    assert all(reason for _, reason in SHARED.values())
