-- Why a terminal does not follow the plan that its branch server offers: the newest word of each, none once it does.
CREATE TABLE terminal_refusals (
    branch   text        NOT NULL,
    terminal text        NOT NULL,
    code     text        NOT NULL,
    reason   text        NOT NULL,
    -- By the terminal's clock.
    at       timestamptz NOT NULL,
    PRIMARY KEY (branch, terminal),
    FOREIGN KEY (branch, terminal) REFERENCES terminals (branch, name) ON DELETE CASCADE
);
