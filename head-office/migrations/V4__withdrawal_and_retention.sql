-- What withdrawing, removing and keeping for a while need, and indexes under which long histories stay quick.

ALTER TABLE releases ADD COLUMN withdrawn_by text;

-- Which plans must be made anew when a release is withdrawn.
CREATE INDEX assignments_by_release ON assignments (release_id);

-- Identities of branches that were removed: their servers are told so, not merely refused.
CREATE TABLE removed_branches (
    token_sha256 text PRIMARY KEY,
    name         text        NOT NULL,
    removed_by   text        NOT NULL,
    removed_at   timestamptz NOT NULL
);

-- An artifact's way out: 'held' → 'leaving' (to be dropped by the daemon, still accepted by the tracker) → 'dropped'
-- (not accepted any more; its file may be gone).
ALTER TABLE artifacts ADD COLUMN stage text NOT NULL DEFAULT 'held';
-- When the last current plan that named it was replaced; none if no plan ever did. What was published before this
-- column counts as wanted until now.
ALTER TABLE artifacts ADD COLUMN last_named timestamptz;
UPDATE artifacts SET last_named = now();

-- Lists by page, newest first.
DROP INDEX releases_newest;
CREATE INDEX releases_newest ON releases (created_at DESC, id DESC);
CREATE INDEX releases_by_version ON releases (product, version, created_at DESC, id DESC);
CREATE INDEX releases_by_state ON releases (state);
-- The newest update of a terminal for each product.
CREATE INDEX updates_newest_of_product ON updates (branch, terminal, product, id DESC);
