-- Branch servers are known by certificates: by the key of the intermediate that the fleet's authority issued to them.
ALTER TABLE branches
    -- SHA-256 of the public key (SubjectPublicKeyInfo, DER) that enrolled.
    ADD COLUMN key_sha256   text UNIQUE,
    -- The intermediate that was issued last (X.509, DER): whoever lost the answer gets it again.
    ADD COLUMN certificate  bytea,
    -- Since when an operator denies the key.
    ADD COLUMN denied_at    timestamptz;

-- Keys of branches that were removed. A key that was denied when its branch was removed stays denied.
CREATE TABLE removed_keys (
    key_sha256 text PRIMARY KEY,
    name       text        NOT NULL,
    removed_by text        NOT NULL,
    removed_at timestamptz NOT NULL,
    denied     boolean     NOT NULL
);

-- Bearer tokens let nobody in any more. A branch that has one is to be added again, which keeps what is known of it; the old
-- columns and removed_branches are left to a later migration.
UPDATE branches
    SET token_sha256 = NULL, enrolled_at = NULL, join_token_sha256 = NULL, join_token_expires = created_at
    WHERE token_sha256 IS NOT NULL;
