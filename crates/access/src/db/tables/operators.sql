-- Who may come in: people with a password, services with tokens alone. Nobody is deleted, so that the audit keeps its
-- names; who leaves is disabled.
CREATE TABLE operators (
    name        text        PRIMARY KEY,
    role        text        NOT NULL CHECK (role IN ('viewer', 'operator', 'release-manager', 'admin')),
    -- argon2id as a PHC string; null: a service.
    password    text,
    added_at    timestamptz NOT NULL,
    added_by    text        NOT NULL,
    disabled_at timestamptz
);

-- Log-ins. Of what the browser holds only the SHA-256.
CREATE TABLE sessions (
    id         uuid        PRIMARY KEY,
    operator   text        NOT NULL REFERENCES operators (name),
    sha256     text        NOT NULL UNIQUE,
    address    text        NOT NULL,
    program    text        NOT NULL,
    begun_at   timestamptz NOT NULL,
    last_used  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_by_operator ON sessions (operator, begun_at DESC, id);

-- API tokens. Of the token itself only the SHA-256.
CREATE TABLE tokens (
    id         uuid        PRIMARY KEY,
    operator   text        NOT NULL REFERENCES operators (name),
    name       text        NOT NULL,
    role       text        NOT NULL CHECK (role IN ('viewer', 'operator', 'release-manager', 'admin')),
    -- Groups of routes; null: all of the role.
    scope      text[],
    sha256     text        NOT NULL UNIQUE,
    made_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    last_used  timestamptz,
    revoked_at timestamptz
);
CREATE INDEX tokens_by_operator ON tokens (operator, made_at DESC, id);
