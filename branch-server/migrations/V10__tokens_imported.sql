-- When the operators of the tokens file were imported, which happens once. Null: never.
alter table site add column tokens_imported timestamptz;
