-- Signatures of releases that were posted: a proposal each, with the signatures that hold and no others.
CREATE TABLE signatures (
    release_id uuid        PRIMARY KEY REFERENCES releases (id) ON DELETE CASCADE,
    -- As `filial release sign` writes it.
    proposal   bytea       NOT NULL,
    signed_by  text[]      NOT NULL,
    threshold  integer     NOT NULL,
    missing    integer     NOT NULL,
    posted_at  timestamptz NOT NULL
);
