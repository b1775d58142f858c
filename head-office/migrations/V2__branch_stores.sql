-- The room in each branch server's store, as it last reported it.
CREATE TABLE branch_stores (
    branch         text        PRIMARY KEY REFERENCES branches (name) ON DELETE CASCADE,
    capacity_bytes bigint      NOT NULL,
    free_bytes     bigint      NOT NULL,
    held_bytes     bigint      NOT NULL,
    at             timestamptz NOT NULL
);
-- The product that a terminal runs is that of its newest confirmed update.
CREATE INDEX updates_confirmed ON updates (branch, terminal, id DESC) WHERE state = 'confirmed';
