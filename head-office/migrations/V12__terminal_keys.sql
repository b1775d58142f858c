-- By which key a terminal's states are proven (64 hexadecimal digits of an ed25519 key, as its branch server told when it
-- enrolled first), and another one that waits for an operator.
ALTER TABLE terminals ADD COLUMN report_key text;
ALTER TABLE terminals ADD COLUMN asked_key text;
