//! Webhooks that are still to be sent: a row from the job's submit on, due when the job has ended. A try is claimed before it is
//! made, so that of several servers one makes it, and a crash in between costs a repetition at most.

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};

use super::job;
use crate::{JobId, State};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhooks")]
pub struct Model {
    /// `seq` of its job.
    #[sea_orm(primary_key, auto_increment = false)]
    pub job: i64,
    pub dialect: String,
    pub url: String,
    /// Tries that were begun.
    pub tries: i32,
    /// Not before; `None`: it was taken, or given up.
    pub next_ms: Option<i64>,
    pub delivered_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// One that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub job: JobId,
    pub url: String,
    /// Tries that were begun before.
    pub tries: i32,
    pub(crate) seq: i64,
}

pub async fn enter<C: ConnectionTrait>(
    db: &C,
    (seq, dialect, url): (i64, &str, &str),
    now_ms: i64,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        job: Set(seq),
        dialect: Set(dialect.to_owned()),
        url: Set(url.to_owned()),
        tries: Set(0),
        next_ms: Set(Some(now_ms)),
        delivered_ms: Set(None),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

const ENDED: [State; 3] = [State::Done, State::Failed, State::Canceled];

/// Of jobs that have ended, the longest overdue first.
pub async fn due<C: ConnectionTrait>(
    db: &C,
    (dialect, now_ms): (&str, i64),
    limit: u64,
) -> Result<Vec<Webhook>, DbErr> {
    let ended = ENDED.map(State::name);
    let jobs =
        job::Entity::find().select_only().column(job::Column::Seq).filter(job::Column::State.is_in(ended));
    let rows = Entity::find()
        .filter(Column::Dialect.eq(dialect))
        .filter(Column::NextMs.lte(now_ms))
        .filter(Column::Job.in_subquery(sea_orm::QueryTrait::into_query(jobs)))
        .order_by_asc(Column::NextMs)
        .limit(limit)
        .all(db)
        .await?;
    let mut due = Vec::new();
    for row in rows {
        if let Some(job) = job::Entity::find_by_id(row.job).one(db).await? {
            due.push(Webhook { job: job.id, url: row.url, tries: row.tries, seq: row.job });
        }
    }
    Ok(due)
}

/// When the next is due that is not yet.
pub async fn next_ms<C: ConnectionTrait>(
    db: &C,
    (dialect, now_ms): (&str, i64),
) -> Result<Option<i64>, DbErr> {
    let row = Entity::find()
        .filter(Column::Dialect.eq(dialect))
        .filter(Column::NextMs.gt(now_ms))
        .order_by_asc(Column::NextMs)
        .one(db)
        .await?;
    Ok(row.and_then(|row| row.next_ms))
}

/// Begins the next try. False: another server has.
pub async fn claim<C: ConnectionTrait>(
    db: &C,
    webhook: &Webhook,
    next_ms: Option<i64>,
) -> Result<bool, DbErr> {
    let claimed = ActiveModel { tries: Set(webhook.tries + 1), next_ms: Set(next_ms), ..Default::default() };
    let met = Entity::update_many()
        .set(claimed)
        .filter(Column::Job.eq(webhook.seq))
        .filter(Column::Tries.eq(webhook.tries))
        // it may have been taken meanwhile
        .filter(Column::NextMs.is_not_null())
        .exec(db)
        .await?;
    Ok(met.rows_affected > 0)
}

/// The try that was claimed has ended: when the next begins.
pub async fn put_off<C: ConnectionTrait>(db: &C, webhook: &Webhook, next_ms: i64) -> Result<(), DbErr> {
    let next = ActiveModel { next_ms: Set(Some(next_ms)), ..Default::default() };
    Entity::update_many()
        .set(next)
        .filter(Column::Job.eq(webhook.seq))
        .filter(Column::Tries.eq(webhook.tries + 1))
        .filter(Column::NextMs.is_not_null())
        .exec(db)
        .await?;
    Ok(())
}

pub async fn delivered<C: ConnectionTrait>(db: &C, webhook: &Webhook, now_ms: i64) -> Result<(), DbErr> {
    let told = ActiveModel { next_ms: Set(None), delivered_ms: Set(Some(now_ms)), ..Default::default() };
    Entity::update_many().set(told).filter(Column::Job.eq(webhook.seq)).exec(db).await?;
    Ok(())
}
