-- Bad data that arrived somewhere: one row a report, the newest thousand of a branch. Times by the reporter's clock.
CREATE TABLE incidents (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    branch       text        NOT NULL REFERENCES branches (name) ON DELETE CASCADE,
    -- Null: the branch server itself.
    terminal     text,
    artifact     text        NOT NULL,
    -- Who may have sent it, the likeliest first.
    addresses    text[]      NOT NULL,
    wasted_bytes bigint      NOT NULL,
    certain      boolean     NOT NULL,
    at           timestamptz NOT NULL
);
CREATE INDEX incidents_by_branch ON incidents (branch, id DESC);
