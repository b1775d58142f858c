-- Join tokens of terminals that others replaced: their files may come back, as from a copy of the folder.
create table replaced_join_tokens (
    -- SHA-256 of the secret part.
    sha256 bytea primary key check (octet_length(sha256) = 32),
    -- In which order they were replaced.
    seq bigint not null generated always as identity
);
