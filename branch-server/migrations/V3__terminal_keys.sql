-- Terminals are known by the key that their certificate is for. Their bearer tokens are read no more; the column is dropped in a
-- later release, so that a program from before certificates finds its own as it left it.
alter table terminals alter column token_sha256 drop not null;
alter table terminals
    -- SHA-256 of its public key (SubjectPublicKeyInfo, DER). Null until it enrolled with one.
    add column key_sha256 bytea unique check (octet_length(key_sha256) = 32),
    -- The certificate that was issued last, in DER: the answer to a question that is asked again.
    add column certificate bytea,
    -- Since when its identity is denied.
    add column denied timestamptz,
    -- Another key that asked in this terminal's name with the join token, and when: an operator may let it in.
    add column asked_key_sha256 bytea check (octet_length(asked_key_sha256) = 32),
    add column asked timestamptz;
-- SHA-256 of the secret that terminals enrol with, and since when it counts.
alter table site
    add column join_sha256 bytea check (octet_length(join_sha256) = 32),
    add column join_since timestamptz;
