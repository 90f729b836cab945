-- @schema@ and @prefix@ are replaced. Once released, a file of this folder is never changed.
DO $body$
BEGIN
    IF to_regnamespace('"@schema@"') IS NULL THEN
        EXECUTE 'CREATE SCHEMA "@schema@"';
    END IF;
END
$body$;

CREATE TABLE "@schema@"."@prefix@schema" (
    version integer PRIMARY KEY,
    applied timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE "@schema@"."@prefix@schema" IS 'Which versions of this schema were applied when.';

CREATE TABLE "@schema@"."@prefix@record" (
    time timestamptz NOT NULL,
    seq bigint NOT NULL,
    origin text COLLATE "C" NOT NULL,
    kind text COLLATE "C",
    request_id text COLLATE "C",
    client text COLLATE "C",
    credential text COLLATE "C",
    principal text COLLATE "C",
    session uuid,
    user_name text COLLATE "C",
    operator text COLLATE "C",
    source inet,
    tenant text COLLATE "C",
    console text COLLATE "C",
    target_uid uuid,
    target_name text COLLATE "C",
    operation text COLLATE "C",
    grant_type text COLLATE "C",
    method text COLLATE "C",
    path text COLLATE "C",
    rule text COLLATE "C",
    code text COLLATE "C",
    status integer,
    duration_us bigint,
    lease text COLLATE "C",
    subject_action text COLLATE "C",
    subject_user text COLLATE "C",
    record jsonb,
    line text,
    raw bytea,
    PRIMARY KEY (origin, seq, time),
    CHECK (line IS NOT NULL OR raw IS NOT NULL)
) PARTITION BY RANGE (time);

COMMENT ON TABLE "@schema@"."@prefix@record" IS
    'Records of the audit log, a partition a month (UTC). Columns are members of the record.';
COMMENT ON COLUMN "@schema@"."@prefix@record".origin IS
    'The log that the record is of; origin#seq is its stable id.';
COMMENT ON COLUMN "@schema@"."@prefix@record".line IS
    'The record byte for byte: its leaf in the tree is sha256(''\x00''::bytea || convert_to(line, ''UTF8'')).';
COMMENT ON COLUMN "@schema@"."@prefix@record".raw IS
    'The bytes of a line that is not UTF-8 text; line is then null.';
COMMENT ON COLUMN "@schema@"."@prefix@record".record IS
    'The line as jsonb; null where jsonb cannot hold it, as with \u0000 in a text.';

CREATE INDEX "@prefix@record_time" ON "@schema@"."@prefix@record"
    USING brin (time) WITH (pages_per_range = 32);
CREATE INDEX "@prefix@record_request" ON "@schema@"."@prefix@record" (request_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX "@prefix@record_client" ON "@schema@"."@prefix@record" (client, time)
    WHERE client IS NOT NULL;
CREATE INDEX "@prefix@record_tenant" ON "@schema@"."@prefix@record" (tenant, time)
    WHERE tenant IS NOT NULL;
CREATE INDEX "@prefix@record_target_uid" ON "@schema@"."@prefix@record" (target_uid, time)
    WHERE target_uid IS NOT NULL;
CREATE INDEX "@prefix@record_target_name" ON "@schema@"."@prefix@record" (target_name, time)
    WHERE target_name IS NOT NULL;
CREATE INDEX "@prefix@record_principal" ON "@schema@"."@prefix@record" (principal, time)
    WHERE principal IS NOT NULL;
CREATE INDEX "@prefix@record_session" ON "@schema@"."@prefix@record" (session, time)
    WHERE session IS NOT NULL;
CREATE INDEX "@prefix@record_user" ON "@schema@"."@prefix@record" (user_name, time)
    WHERE user_name IS NOT NULL;
CREATE INDEX "@prefix@record_operator" ON "@schema@"."@prefix@record" (operator, time)
    WHERE operator IS NOT NULL;
CREATE INDEX "@prefix@record_source" ON "@schema@"."@prefix@record" (source, time)
    WHERE source IS NOT NULL;
CREATE INDEX "@prefix@record_code" ON "@schema@"."@prefix@record" (code, time)
    WHERE code <> 'ok';
CREATE INDEX "@prefix@record_status" ON "@schema@"."@prefix@record" (status, time)
    WHERE status >= 400;
CREATE INDEX "@prefix@record_subject" ON "@schema@"."@prefix@record" (subject_user, time)
    WHERE subject_user IS NOT NULL;

-- Makes the partition of a month unless there is one. It runs with the rights of its owner, so that
-- the role that writes needs none to make tables. Attaching takes a lock that neither readers nor
-- writers wait for; CREATE TABLE … PARTITION OF would wait for all of them.
CREATE FUNCTION "@schema@"."@prefix@month"(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    first timestamp := date_trunc('month', day::timestamp);
    part text := '@prefix@record_' || to_char(first, 'YYYY_MM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('"@schema@"."@prefix@record"', 0));
    IF EXISTS (
        SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = '"@schema@"."@prefix@record"'::regclass AND c.relname = part
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
        '@schema@', part, '@schema@', '@prefix@record');
    EXECUTE format(
        'ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
        '@schema@', '@prefix@record', '@schema@', part,
        to_char(first, 'YYYY-MM-DD') || ' 00:00:00+00',
        to_char(first + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
    RETURN true;
EXCEPTION
    -- Another partition has these days: the owner divides the table in another way.
    WHEN invalid_object_definition THEN
        RETURN false;
END
$body$;

REVOKE ALL ON FUNCTION "@schema@"."@prefix@month"(date) FROM PUBLIC;
