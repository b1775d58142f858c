-- Keys that an operator replaced by others: a branch server that lost its database must not let a terminal in by one of them.
CREATE TABLE replaced_keys (
    branch      text        NOT NULL,
    name        text        NOT NULL,
    key         text        NOT NULL,
    replaced_at timestamptz NOT NULL,
    PRIMARY KEY (branch, name, key)
);
