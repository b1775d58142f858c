-- When a release was published, also after it was withdrawn: its version stands for its content for ever. Of those that were
-- withdrawn before this column it is not known.
ALTER TABLE releases ADD COLUMN published_at timestamptz;
UPDATE releases SET published_at = changed_at WHERE state = 'published';
