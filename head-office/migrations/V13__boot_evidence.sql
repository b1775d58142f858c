-- What a terminal found of its failed boot, with the move to rolled-back: the JSON text of the report's evidence, its
-- signature included. At most about 9 KiB; kept of the newest few of each terminal.
ALTER TABLE moves ADD COLUMN evidence text;
