-- What a plan names besides the steps of slots.
ALTER TABLE plans ADD COLUMN packages jsonb NOT NULL DEFAULT '[]';

-- Where the packages of terminals stand, as last reported. Times by the terminal's clock.
CREATE TABLE terminal_packages (
    branch         text        NOT NULL,
    terminal       text        NOT NULL,
    product        text        NOT NULL,
    version        text        NOT NULL,
    name           text        NOT NULL,
    payload_sha256 text        NOT NULL,
    have_bytes     bigint      NOT NULL,
    total_bytes    bigint      NOT NULL,
    complete       boolean     NOT NULL,
    trouble_code   text,
    trouble_text   text,
    at             timestamptz NOT NULL,
    PRIMARY KEY (branch, terminal, product, version, name),
    FOREIGN KEY (branch, terminal) REFERENCES terminals (branch, name) ON DELETE CASCADE
);
