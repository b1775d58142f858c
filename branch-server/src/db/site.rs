//! Table `site`: one row about this server itself.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use tokio_postgres::Row;
use uuid::Uuid;
use wire::Reason;

use super::rows::{get, parsed_opt, reason, reason_json, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query_one};

service_kit::statements! {
    READ = "select * from site";
    LOCK = "select * from site for update";
    SET_BRANCH = "update site set branch = $1 where branch is null or branch = $1";
    HEARD = "update site set last_contact = $1, trouble = null";
    UNHEARD = "update site set trouble = $1";
    // JSON of another text, or none, is what an earlier version left: the reason is news once more, with its code.
    REFUSED = "update site set plan_refused = $1, plan_refused_json = $2
         where plan_refused is distinct from $1 or plan_refused_json ->> 'text' is distinct from $2::jsonb ->> 'text'";
    JOIN = "with former as (
             insert into replaced_join_tokens (sha256)
             select join_sha256 from site where join_sha256 is not null and join_sha256 <> $1
             on conflict (sha256) do nothing)
         update site set join_since = case when join_sha256 = $1 then join_since else $2 end,
         join_uses = case when join_sha256 = $1 then join_uses else 0 end, join_sha256 = $1
         returning join_since";
    // The newest 32 stay.
    FORGET_JOINS = "delete from replaced_join_tokens where seq <= (
         select seq from replaced_join_tokens order by seq desc offset 32 limit 1)";
    IS_REPLACED_JOIN = "select exists (select from replaced_join_tokens where sha256 = $1) as replaced";
    USE_JOIN = "update site set join_uses = join_uses + 1 where join_uses < $1 and join_sha256 = $2";
    TOKENS_IMPORTED = "update site set tokens_imported = $1";
    NEXT_REPORT = "update site set relay_last = relay_last + 1 returning relay_last";
    SENT = "update site set relay_sent = greatest(relay_sent, $1)";
    RENUMBER = "update site set relay_epoch = gen_random_uuid(), relay_last = $1, relay_sent = 0";
}

/// What this server is, and how its dealings with head office stand.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its branch; none before it enrolled.
    pub branch: Option<BranchName>,
    /// When head office last answered.
    pub last_contact: Option<DateTime<Utc>>,
    /// Why it did not answer since.
    pub trouble: Option<String>,
    /// Why the newest offered plan was refused.
    pub plan_refused: Option<Reason>,
    /// When the operators of the tokens file were imported.
    pub tokens_imported: Option<DateTime<Utc>>,
    /// Which numbering of reports to head office this is.
    pub relay_epoch: Uuid,
    /// The highest number given to a report.
    pub relay_last: u64,
    /// The highest number that was ever put into a request.
    pub relay_sent: u64,
}

fn site(row: &Row) -> Result<Site, DatabaseError> {
    Ok(Site {
        branch: parsed_opt(row, "branch")?,
        last_contact: get(row, "last_contact")?,
        trouble: get(row, "trouble")?,
        plan_refused: reason(row, None, "plan_refused", "plan_refused_json")?,
        tokens_imported: get(row, "tokens_imported")?,
        relay_epoch: get(row, "relay_epoch")?,
        relay_last: unsigned(row, "relay_last")?,
        relay_sent: unsigned(row, "relay_sent")?,
    })
}

/// The row.
pub async fn read(client: &impl GenericClient) -> Result<Site, DatabaseError> {
    site(&query_one(client, READ, &[]).await?)
}

/// The row, locked until the transaction ends: numbering and sending of reports are serialised.
pub async fn lock(tx: &impl GenericClient) -> Result<Site, DatabaseError> {
    site(&query_one(tx, LOCK, &[]).await?)
}

/// Records the branch. `false` if the database belongs to another one.
pub async fn set_branch(client: &impl GenericClient, branch: &BranchName) -> Result<bool, DatabaseError> {
    Ok(execute(client, SET_BRANCH, &[&branch.as_str()]).await? == 1)
}

/// Head office answered at `now`.
pub async fn heard(client: &impl GenericClient, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(client, HEARD, &[&now]).await.map(drop)
}

/// Head office did not answer, or not as it should.
pub async fn unheard(client: &impl GenericClient, trouble: &str) -> Result<(), DatabaseError> {
    execute(client, UNHEARD, &[&trouble]).await.map(drop)
}

/// Why the newest offered plan was refused; none when it was not. `true` if that is news.
pub async fn set_plan_refused(client: &impl GenericClient, why: Option<&Reason>) -> Result<bool, DatabaseError> {
    let json = reason_json(why, "plan_refused_json")?;
    Ok(execute(client, REFUSED, &[&why.map(|r| r.text.as_str()), &json]).await? == 1)
}

/// Since when the secret with this SHA-256 is what terminals enrol with: now, if it was another one before.
pub async fn join_since(
    client: &impl GenericClient,
    secret: &Digest,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, DatabaseError> {
    let since = get(&query_one(client, JOIN, &[&&secret.as_bytes()[..], &now]).await?, "join_since")?;
    execute(client, FORGET_JOINS, &[]).await?;
    Ok(since)
}

/// Returns whether another secret took the place of the one with this SHA-256.
pub async fn is_replaced_join(client: &impl GenericClient, secret: &Digest) -> Result<bool, DatabaseError> {
    get(&query_one(client, IS_REPLACED_JOIN, &[&&secret.as_bytes()[..]]).await?, "replaced")
}

/// Counts one more terminal that enrols with the secret of this SHA-256. `false` if `most` have, or it was replaced.
pub async fn use_join(tx: &impl GenericClient, secret: &Digest, most: u64) -> Result<bool, DatabaseError> {
    Ok(execute(tx, USE_JOIN, &[&signed(most), &&secret.as_bytes()[..]]).await? == 1)
}

/// The tokens file was imported.
pub async fn set_tokens_imported(tx: &impl GenericClient, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(tx, TOKENS_IMPORTED, &[&now]).await.map(drop)
}

/// The number of the next report to head office. Holds the row's lock until the transaction ends, so that numbers
/// are committed in their order and without gaps.
pub async fn next_report(tx: &impl GenericClient) -> Result<u64, DatabaseError> {
    unsigned(&query_one(tx, NEXT_REPORT, &[]).await?, "relay_last")
}

/// Reports up to `seq` are about to be sent: from now on they must not change.
pub async fn set_sent(tx: &impl GenericClient, seq: u64) -> Result<(), DatabaseError> {
    execute(tx, SENT, &[&signed(seq)]).await.map(drop)
}

/// A new numbering whose highest number is `last`.
pub async fn renumber(tx: &impl GenericClient, last: u64) -> Result<(), DatabaseError> {
    execute(tx, RENUMBER, &[&signed(last)]).await.map(drop)
}
