-- Times are by head office's clock unless a comment says otherwise. Digests are lower-case hexadecimal.

CREATE TABLE releases (
    id              uuid PRIMARY KEY,
    state           text        NOT NULL,
    reason          text,
    file_name       text        NOT NULL,
    archive_bytes   bigint      NOT NULL CHECK (archive_bytes > 0),
    product         text,
    version         text,
    manifest        bytea,
    manifest_sha256 text,
    report          jsonb,
    progress        jsonb,
    created_by      text        NOT NULL,
    approved_by     text,
    approved_reason text,
    created_at      timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL,
    -- When its upload was last asked for or written to.
    touched_at      timestamptz NOT NULL
);
CREATE INDEX releases_newest ON releases (created_at DESC, id);
CREATE INDEX releases_by_manifest ON releases (manifest_sha256);
-- A version of a product is published once. Withdrawing it frees the name only for a person's new decision.
CREATE UNIQUE INDEX releases_one_of_a_version ON releases (product, version)
    WHERE state IN ('awaiting-signature', 'approved', 'publishing', 'published');

-- What travels: one row per artifact file in the store. The torrent is kept without trackers.
CREATE TABLE artifacts (
    sha256         text PRIMARY KEY,
    length         bigint      NOT NULL,
    index_sha256   text        NOT NULL,
    index_length   bigint      NOT NULL,
    info_hash      text        NOT NULL UNIQUE,
    torrent        bytea       NOT NULL,
    payload_sha256 text        NOT NULL,
    created_at     timestamptz NOT NULL
);

CREATE TABLE payloads (
    release_id      uuid    NOT NULL REFERENCES releases (id) ON DELETE CASCADE,
    position        integer NOT NULL,
    name            text    NOT NULL,
    kind            text    NOT NULL,
    compatible      text[]  NOT NULL,
    archive_offset  bigint  NOT NULL,
    length          bigint  NOT NULL,
    sha256          text    NOT NULL,
    artifact_sha256 text REFERENCES artifacts (sha256),
    PRIMARY KEY (release_id, name)
);
CREATE INDEX payloads_by_artifact ON payloads (artifact_sha256);

CREATE TABLE branches (
    name               text PRIMARY KEY,
    join_token_sha256  text UNIQUE,
    join_token_expires timestamptz,
    token_sha256       text UNIQUE,
    created_by         text        NOT NULL,
    created_at         timestamptz NOT NULL,
    enrolled_at        timestamptz,
    last_heard         timestamptz
);

CREATE TABLE terminals (
    branch        text        NOT NULL REFERENCES branches (name),
    name          text        NOT NULL,
    model         text        NOT NULL,
    slot_bytes    bigint      NOT NULL,
    data_bytes    bigint      NOT NULL,
    agent_version text        NOT NULL,
    slot          text,
    version       text,
    created_at    timestamptz NOT NULL,
    last_heard    timestamptz NOT NULL,
    PRIMARY KEY (branch, name)
);
CREATE INDEX terminals_by_model ON terminals (model, slot_bytes);

-- One row per update of a terminal; the newest of a terminal is the one that counts. Times by the terminal's clock.
CREATE TABLE updates (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    branch         text        NOT NULL,
    terminal       text        NOT NULL,
    product        text        NOT NULL,
    serial         bigint      NOT NULL,
    version        text        NOT NULL,
    payload_sha256 text        NOT NULL,
    state          text        NOT NULL,
    segments_done  bigint      NOT NULL,
    segments_total bigint      NOT NULL,
    reason_code    text,
    reason_text    text,
    since          timestamptz NOT NULL,
    FOREIGN KEY (branch, terminal) REFERENCES terminals (branch, name)
);
CREATE INDEX updates_newest ON updates (branch, terminal, id DESC);

CREATE TABLE moves (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    update_id   bigint      NOT NULL REFERENCES updates (id) ON DELETE CASCADE,
    from_state  text,
    to_state    text        NOT NULL,
    at          timestamptz NOT NULL,
    reason_code text,
    reason_text text
);
CREATE INDEX moves_by_update ON moves (update_id, id);

-- How far each numbering of a branch's reports is stored: what makes them count once.
CREATE TABLE report_epochs (
    branch   text        NOT NULL REFERENCES branches (name),
    epoch    uuid        NOT NULL,
    through  bigint      NOT NULL,
    heard_at timestamptz NOT NULL,
    PRIMARY KEY (branch, epoch)
);

CREATE TABLE branch_artifacts (
    branch     text        NOT NULL REFERENCES branches (name),
    artifact   text        NOT NULL,
    have_bytes bigint      NOT NULL,
    complete   boolean     NOT NULL,
    trouble    text,
    at         timestamptz NOT NULL,
    PRIMARY KEY (branch, artifact)
);

CREATE TABLE assignments (
    branch      text        NOT NULL REFERENCES branches (name),
    product     text        NOT NULL,
    release_id  uuid        NOT NULL REFERENCES releases (id),
    downgrade   boolean     NOT NULL,
    assigned_by text        NOT NULL,
    assigned_at timestamptz NOT NULL,
    PRIMARY KEY (branch, product)
);

-- Every plan that was ever issued, exactly as it was sealed.
CREATE TABLE plans (
    branch   text        NOT NULL REFERENCES branches (name),
    serial   bigint      NOT NULL,
    issued   timestamptz NOT NULL,
    expires  timestamptz NOT NULL,
    steps    jsonb       NOT NULL,
    envelope jsonb       NOT NULL,
    PRIMARY KEY (branch, serial)
);
