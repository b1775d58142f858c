-- What the last reports of each numbering said, so that a number that comes again with other content is noticed, and in which
-- order numberings began. Null: begun before this version.
ALTER TABLE report_epochs
    ADD COLUMN began          bigint,
    -- SHA-256 digests of the reports up to number recent_through, at most 200, as this version of the program takes them.
    ADD COLUMN recent         bytea,
    ADD COLUMN recent_through bigint,
    ADD COLUMN recent_by      text,
    ADD CHECK (octet_length(recent) % 32 = 0 AND octet_length(recent) <= 6400);
CREATE SEQUENCE report_epochs_began OWNED BY report_epochs.began;
ALTER TABLE report_epochs ALTER COLUMN began SET DEFAULT nextval('report_epochs_began');

-- Machines that used numbers of reports twice: one row for each.
CREATE TABLE reused_numbers (
    branch   text        NOT NULL REFERENCES branches (name) ON DELETE CASCADE,
    -- Empty: the branch server itself.
    terminal text        NOT NULL,
    times    bigint      NOT NULL CHECK (times > 0),
    last_at  timestamptz NOT NULL,
    PRIMARY KEY (branch, terminal)
);
CREATE INDEX reused_numbers_by_time ON reused_numbers (last_at);
