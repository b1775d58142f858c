-- What the last reports of each numbering said, so that a number that comes again with other content is noticed, and in which
-- order numberings began. Null: begun before this version.
alter table report_epochs
    add column began bigint,
    -- SHA-256 digests of the reports up to number recent_through, at most 200, as this version of the program takes them.
    add column recent bytea,
    add column recent_through bigint,
    add column recent_by text,
    add check (octet_length(recent) % 32 = 0 and octet_length(recent) <= 6400);
create sequence report_epochs_began owned by report_epochs.began;
alter table report_epochs alter column began set default nextval('report_epochs_began');

-- Machines that used numbers of reports twice: one row for each.
create table reused_numbers (
    -- Empty: this server itself.
    terminal text primary key,
    times bigint not null check (times > 0),
    last_at timestamptz not null,
    -- How often since the last report to head office, and when that was.
    unreported bigint not null,
    reported_at timestamptz
);
