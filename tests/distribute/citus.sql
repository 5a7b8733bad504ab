-- A stand-in for Citus that spreads nothing: it keeps the book of what is spread, and refuses what Citus refuses of tables and keys.
SET allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT max(oid)::oid::int8 + 1, 'citus', 10, 'pg_catalog'::regnamespace, false, '13.0-1' FROM (SELECT oid::int8 AS oid FROM pg_extension) o;
CREATE SCHEMA standin;
CREATE TABLE standin.spread (table_name regclass PRIMARY KEY, citus_table_type text NOT NULL, distribution_column text, beside text);
CREATE TABLE standin.functions (classid oid, objid oid);
CREATE VIEW standin.citus_tables AS SELECT * FROM standin.spread;
CREATE VIEW standin.pg_dist_object AS SELECT * FROM standin.functions;

CREATE FUNCTION standin.refuse_wrong_keys() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    SELECT format('cannot create foreign key constraint %s: %s', k.conname, CASE
               WHEN there.citus_table_type IS NULL AND here.citus_table_type IS NOT NULL THEN 'the referenced table is not spread'
               WHEN here.citus_table_type IS NULL THEN 'foreign keys from local tables to distributed tables are not supported'
               ELSE 'the distribution column is not in both at one place, or they do not lie together' END)
      INTO wrong
      FROM pg_constraint k
      LEFT JOIN standin.spread here ON here.table_name = k.conrelid
      LEFT JOIN standin.spread there ON there.table_name = k.confrelid
     WHERE k.contype = 'f' AND (here.table_name IS NOT NULL OR there.table_name IS NOT NULL)
       AND NOT coalesce(here.citus_table_type = 'distributed' AND (there.citus_table_type = 'reference' OR (
               there.citus_table_type = 'distributed' AND here.beside = there.beside AND EXISTS (
                   SELECT FROM unnest(k.conkey, k.confkey) AS pair (mine, theirs)
                     JOIN pg_attribute m ON m.attrelid = k.conrelid AND m.attnum = pair.mine AND m.attname = here.distribution_column
                     JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = pair.theirs AND t.attname = there.distribution_column
               ))), here.citus_table_type = 'reference' AND there.citus_table_type = 'reference', false)
     LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = '0A000';
    END IF;
END $$;

CREATE FUNCTION standin.create_distributed_table(name regclass, by text, colocate_with text DEFAULT 'default')
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    IF EXISTS (SELECT FROM standin.spread WHERE table_name = name) THEN
        RAISE EXCEPTION 'table "%" is already distributed', name;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = name AND attname = by AND attnum > 0 AND attgenerated = '') THEN
        RAISE EXCEPTION 'column "%" of relation "%" does not exist', by, name;
    END IF;
    SELECT i.indexrelid::regclass::text INTO wrong FROM pg_index i
     WHERE i.indrelid = name AND (i.indisunique OR i.indisexclusion)
       AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = name AND a.attname = by AND a.attnum = ANY (i.indkey));
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'cannot create constraint on "%": % does not include the distribution column', name, wrong;
    END IF;
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = name AND NOT tgisinternal) THEN
        RAISE EXCEPTION 'triggers are not supported on distributed tables';
    END IF;
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = name AND attidentity <> '') THEN
        RAISE EXCEPTION 'identity columns need care on distributed tables';
    END IF;
    IF colocate_with <> 'none' AND NOT EXISTS (SELECT FROM standin.spread WHERE table_name = colocate_with::regclass) THEN
        RAISE EXCEPTION 'relation % is not distributed', colocate_with;
    END IF;
    INSERT INTO standin.spread VALUES (name, 'distributed', by, CASE colocate_with WHEN 'none' THEN name::text ELSE colocate_with END);
    PERFORM standin.refuse_wrong_keys();
END $$;

CREATE FUNCTION standin.create_reference_table(name regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO standin.spread VALUES (name, 'reference', NULL, NULL);
    PERFORM standin.refuse_wrong_keys();
END $$;

CREATE FUNCTION standin.create_distributed_function(name regprocedure) RETURNS void LANGUAGE sql AS $$
    INSERT INTO standin.functions VALUES ('pg_proc'::regclass, name);
$$;

CREATE FUNCTION standin.after_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM standin.refuse_wrong_keys();
END $$;
CREATE EVENT TRIGGER standin ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE') EXECUTE FUNCTION standin.after_ddl();
