-- Who changed what: only ever added to. Each row carries the hash of the one before it.
CREATE TABLE audit (
    seq          bigint      PRIMARY KEY,
    at           timestamptz NOT NULL,
    who          text        NOT NULL,
    via          text        NOT NULL,
    address      text,
    action       text        NOT NULL,
    subject      text        NOT NULL,
    reason       text,
    -- JSON as text: jsonb would change what was hashed.
    before_state text,
    after_state  text,
    previous     text        NOT NULL,
    hash         text        NOT NULL
);

-- How far it reaches. Its lock is what writers wait for one after the other.
CREATE TABLE audit_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    seq    bigint  NOT NULL,
    hash   text    NOT NULL
);
INSERT INTO audit_head (seq, hash) VALUES (0, repeat('0', 64));
