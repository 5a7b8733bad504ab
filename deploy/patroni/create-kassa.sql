-- Kassa's role and database, once, on the primary. KASSA_DATABASE_PASSWORD is read from the environment, so that it stands in no list of
-- processes and in no history:
--
--   psql "host=db1,db2,db3 user=postgres dbname=postgres target_session_attrs=read-write" -f create-kassa.sql
\set ON_ERROR_STOP on
\getenv password KASSA_DATABASE_PASSWORD
CREATE ROLE kassa LOGIN PASSWORD :'password';
CREATE DATABASE kassa OWNER kassa TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
