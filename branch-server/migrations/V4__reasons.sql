-- Reasons as JSON: code, parameters, sentence. The text columns stay, for the version before this one; JSON counts while it
-- belongs to the text beside it. A text without JSON is read as a sentence of a general code, or of the code beside it.
alter table site add column plan_refused_json jsonb;
alter table artifacts add column trouble_json jsonb;
alter table updates add column reason_json jsonb;
alter table moves add column reason_json jsonb;
