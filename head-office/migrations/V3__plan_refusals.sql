-- Why a branch server does not follow the plan that it was offered: the newest word of each, none once it does.
CREATE TABLE plan_refusals (
    branch text PRIMARY KEY REFERENCES branches (name) ON DELETE CASCADE,
    -- Of the refused plan; null if the branch could not read it.
    serial bigint,
    reason text        NOT NULL,
    -- By the branch server's clock.
    at     timestamptz NOT NULL
);
