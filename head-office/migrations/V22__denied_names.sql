-- Denied terminals of branches that were removed: a new server of the branch must not let them in by their old certificates.
CREATE TABLE denied_names (
    branch    text        NOT NULL,
    name      text        NOT NULL,
    denied_at timestamptz NOT NULL,
    PRIMARY KEY (branch, name)
);
