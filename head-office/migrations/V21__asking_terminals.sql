-- Terminals whose new key waits for an operator: few, and each look at the status asks for them.
CREATE INDEX terminals_asking ON terminals (branch, name) WHERE asked_key IS NOT NULL;
