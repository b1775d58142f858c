-- Since when the branch server of a terminal denies it: what such a terminal said of itself does not count.
ALTER TABLE terminals ADD COLUMN denied_at timestamptz;
