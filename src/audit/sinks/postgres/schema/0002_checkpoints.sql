-- @schema@ and @prefix@ are replaced. Once released, a file of this folder is never changed.
CREATE TABLE "@schema@"."@prefix@checkpoint" (
    origin text NOT NULL,
    size bigint NOT NULL,
    root bytea NOT NULL,
    note text NOT NULL,
    received timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (origin, size, root)
);

COMMENT ON TABLE "@schema@"."@prefix@checkpoint" IS
    'Signed checkpoints: the first size records of the log origin have this root. Two roots of one size are proof of a forked log.';
