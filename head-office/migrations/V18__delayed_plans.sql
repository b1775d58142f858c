-- Branches whose plan follows their reports later, because it changed so often lately.
CREATE TABLE delayed_plans (
    branch text        PRIMARY KEY REFERENCES branches (name) ON DELETE CASCADE,
    due_at timestamptz NOT NULL
);
