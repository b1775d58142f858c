-- Who this server is, and how its dealings with head office stand. One row.
create table site (
    one boolean primary key default true check (one),
    -- Null until enrolled; never changes afterwards: a database belongs to one branch.
    branch text,
    -- When head office last answered, and why it did not answer since.
    last_contact timestamptz,
    trouble text,
    -- Why the newest plan that was offered is not the one that is kept.
    plan_refused text,
    -- The numbering of reports to head office. A fresh database is a new numbering.
    relay_epoch uuid not null default gen_random_uuid(),
    -- The highest number given to a report, and the highest ever put into a request.
    relay_last bigint not null default 0,
    relay_sent bigint not null default 0,
    check (relay_sent <= relay_last)
);
insert into site default values;

-- The newest accepted plan, exactly as head office sealed it. At most one row.
create table plan (
    one boolean primary key default true check (one),
    serial bigint not null check (serial > 0),
    issued timestamptz not null,
    expires timestamptz not null,
    -- The envelope as JSON text: not jsonb, which would refuse or reorder what was sealed.
    envelope text not null,
    accepted timestamptz not null
);

-- Artifacts that a plan named, and how far this server is with each.
create table artifacts (
    sha256 bytea primary key check (octet_length(sha256) = 32),
    length bigint not null check (length >= 0),
    index_sha256 bytea not null check (octet_length(index_sha256) = 32),
    index_length bigint not null check (index_length >= 0),
    info_hash bytea not null check (octet_length(info_hash) = 20),
    payload_name text not null,
    payload_sha256 bytea not null check (octet_length(payload_sha256) = 32),
    payload_length bigint not null check (payload_length >= 0),
    manifest bytea not null check (octet_length(manifest) = 32),
    product text not null,
    version text not null,
    -- wanted: named, nothing here; described: index, torrent and manifest are here; listed: the tracker accepts it,
    -- terminals may fetch; held: the whole file was hashed; dropping: on its way out.
    stage text not null default 'wanted' check (stage in ('wanted', 'described', 'listed', 'held', 'dropping')),
    index bytea,
    torrent bytea,
    have_bytes bigint not null default 0,
    trouble text,
    -- How often the complete file was not what the plan says, and until when the next attempt waits.
    mismatches integer not null default 0,
    retry_after timestamptz,
    -- Since when no plan names it.
    unnamed_since timestamptz,
    check (stage in ('wanted', 'dropping') or (index is not null and torrent is not null))
);

-- Manifests by digest, byte for byte.
create table manifests (
    sha256 bytea primary key check (octet_length(sha256) = 32),
    body bytea not null
);

create table terminals (
    name text primary key,
    model text not null,
    slot_bytes bigint not null check (slot_bytes >= 0),
    data_bytes bigint not null check (data_bytes >= 0),
    agent_version text not null,
    -- SHA-256 of its bearer token: 256 random bits need no salt.
    token_sha256 bytea not null unique check (octet_length(token_sha256) = 32),
    enrolled timestamptz not null,
    last_heard timestamptz not null,
    slot text check (slot in ('A', 'B')),
    version text
);

-- The newest update of each terminal.
create table updates (
    terminal text primary key references terminals (name) on delete cascade,
    serial bigint not null,
    product text not null,
    version text not null,
    payload bytea not null check (octet_length(payload) = 32),
    state text not null,
    segments_done bigint not null,
    segments_total bigint not null,
    reason_code text,
    reason_text text,
    since timestamptz not null
);

-- The moves of that update, oldest first.
create table moves (
    terminal text not null references terminals (name) on delete cascade,
    ordinal bigint generated always as identity,
    from_state text,
    to_state text not null,
    at timestamptz not null,
    reason_code text,
    reason_text text,
    primary key (terminal, ordinal)
);

-- How far each terminal's reports are stored, by its numbering. A few past numberings are kept, so that a late
-- request of an old one is not taken for something new.
create table report_epochs (
    terminal text not null references terminals (name) on delete cascade,
    epoch uuid not null,
    through bigint not null check (through >= 0),
    used timestamptz not null,
    primary key (terminal, epoch)
);

-- Reports that head office has not acknowledged.
create table relay_queue (
    -- Deferrable, so that a renumbering is judged when it is done and not row by row.
    seq bigint primary key deferrable initially immediate check (seq > 0),
    at timestamptz not null,
    -- What a newer report of the same subject may be folded into, as long as this one was never sent.
    subject text not null,
    -- JSON text, as it will be sent.
    report text not null
);
create index relay_queue_subject on relay_queue (subject, seq desc);
