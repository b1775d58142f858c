-- States that a terminal signed with a key that no operator accepted yet: the newest of each product. They count once the key is
-- accepted, and go with the terminal.
CREATE TABLE held_reports (
    branch   text        NOT NULL,
    terminal text        NOT NULL,
    product  text        NOT NULL,
    -- By the terminal's clock.
    at       timestamptz NOT NULL,
    -- As it was reported.
    report   text        NOT NULL,
    PRIMARY KEY (branch, terminal, product),
    FOREIGN KEY (branch, terminal) REFERENCES terminals (branch, name) ON DELETE CASCADE
);
