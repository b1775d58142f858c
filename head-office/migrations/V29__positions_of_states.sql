-- Where a terminal's newest state stands among those that it signed, so that an earlier one does not count again. Null: its agent does
-- not say it.
ALTER TABLE updates ADD COLUMN position bigint;
