-- The newest accepted plan whose signatures were verified, exactly as head office signed it, with what it taught. At most one
-- row. Table plan holds what was accepted before there were signatures: nobody follows it any more, and it is dropped in a
-- later release, so that a program from before signatures finds its own place as it left it.
create table signed_plan (
    one boolean primary key default true check (one),
    serial bigint not null check (serial > 0),
    issued timestamptz not null,
    expires timestamptz not null,
    -- The envelope as JSON text: not jsonb, which would refuse or reorder what was signed.
    envelope text not null,
    accepted timestamptz not null,
    -- The highest serial that was accepted from each plan key, JSON by the key's id: what a replay is told by.
    floors text not null
);
