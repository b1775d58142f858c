-- Artifacts that a branch had completely and lost: the BitTorrent daemon renews their torrents, so that it serves the branch
-- again. A row is written with the report that says so and deleted once the daemon has renewed the torrent.
CREATE TABLE torrent_renewals (
    artifact text   PRIMARY KEY REFERENCES artifacts (sha256) ON DELETE CASCADE,
    -- Rises with every report, so that a request that arrives during a renewal is not lost.
    requests bigint NOT NULL DEFAULT 1
);
