-- Who was forgotten, as `kassa forget --again` reads it: psql -At -f forgotten.sql > forgotten.json
-- Run it now and then beside the backups and keep what it prints, and after a disaster on a copy that was brought back to the `end`.
-- It names buyers by their bare ids and guests by keyed hashes.
SELECT json_build_object('lines', coalesce(json_agg(json_build_object('merchant_id', merchant_id, 'act', act, 'subject', subject, 'at', at)
                                                    ORDER BY at, merchant_id, place), '[]'))
  FROM audit_log WHERE act = 'buyer.forget';
