-- How far each branch's audit reaches, as its server reported it last.
CREATE TABLE branch_audits (
    branch    text        PRIMARY KEY REFERENCES branches (name) ON DELETE CASCADE,
    seq       bigint      NOT NULL,
    hash      text        NOT NULL,
    -- When that was, by the branch's clock, but never after head office's.
    at        timestamptz NOT NULL,
    -- The last time that a report contradicted the one before: how far the chain had reached, how far it reached then, and when
    -- head office learned of it. Null: never.
    kept_seq  bigint,
    kept_hash text,
    cut_seq   bigint,
    cut_at    timestamptz
);
