-- Whose report it is, so that the reports of one terminal that wait are counted. None: the branch server's own, or from before.
alter table relay_queue add column terminal text;
create index relay_queue_terminal on relay_queue (terminal) where terminal is not null;
