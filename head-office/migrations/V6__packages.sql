-- What a plan names besides the steps of slots.
ALTER TABLE plans ADD COLUMN packages jsonb NOT NULL DEFAULT '[]';
