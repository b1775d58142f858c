-- How many terminals enrolled with the present join token.
alter table site add column join_uses bigint not null default 0 check (join_uses >= 0);
