-- A renewed torrent helps only if the tracker knows by then that the branch fetches again. So a request stays until the branch
-- has more of the artifact than it said first, and the torrent is renewed again when that does not come about.
DROP TABLE torrent_renewals;
CREATE TABLE torrent_renewals (
    artifact text        NOT NULL REFERENCES artifacts (sha256) ON DELETE CASCADE,
    branch   text        NOT NULL REFERENCES branches (name) ON DELETE CASCADE,
    -- Rises with every report, so that a request that arrives during a renewal is not lost.
    requests bigint      NOT NULL DEFAULT 1,
    -- How often the torrent was renewed for this request.
    renewals integer     NOT NULL DEFAULT 0,
    due_at   timestamptz NOT NULL,
    PRIMARY KEY (artifact, branch)
);
