//! A job's log: lines numbered from 1 without gaps. The number is drawn from the job's row inside the same transaction.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveValue::Set, QueryOrder, QuerySelect};

use super::job;
use crate::fault::without_nul;
use crate::{Level, LogLine};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "job_log")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub job: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub n: i64,
    pub at_ms: i64,
    pub level: String,
    pub message: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What is to be told.
pub struct Line<'a> {
    pub at_ms: i64,
    pub level: Level,
    pub message: &'a str,
}

impl<'a> Line<'a> {
    pub fn info(at_ms: i64, message: &'a str) -> Self {
        Self { at_ms, level: Level::Info, message }
    }
}

/// Inside a transaction: the row of the job is locked by the UPDATE until it commits.
pub async fn write<C: ConnectionTrait>(db: &C, seq: i64, line: Line<'_>) -> Result<(), DbErr> {
    job::Entity::update_many()
        .col_expr(job::Column::Lines, Expr::col(job::Column::Lines).add(1))
        .filter(job::Column::Seq.eq(seq))
        .exec(db)
        .await?;
    write_drawn(db, seq, line).await
}

/// Like `write`, where the guarded UPDATE has drawn the number already.
pub async fn write_drawn<C: ConnectionTrait>(db: &C, seq: i64, line: Line<'_>) -> Result<(), DbErr> {
    let query = job::Entity::find_by_id(seq).select_only().column(job::Column::Lines);
    let numbers: Vec<i64> = query.into_tuple().all(db).await?;
    let Some(n) = numbers.into_iter().next() else { return Ok(()) };
    write_numbered(db, (seq, n), line).await
}

/// Under a number that is known to be its own.
pub async fn write_numbered<C: ConnectionTrait>(
    db: &C,
    (seq, n): (i64, i64),
    line: Line<'_>,
) -> Result<(), DbErr> {
    let line = ActiveModel {
        job: Set(seq),
        n: Set(n),
        at_ms: Set(line.at_ms),
        level: Set(level_name(line.level).to_owned()),
        message: Set(without_nul(line.message.to_owned())),
    };
    Entity::insert(line).exec_without_returning(db).await?;
    Ok(())
}

impl super::Record {
    /// A line of its own, outside any other change.
    pub async fn write_line(&self, seq: i64, line: Line<'_>) -> Result<(), DbErr> {
        let tx = self.begin().await?;
        write(&tx, seq, line).await?;
        tx.commit().await
    }
}

/// The first line of a job that was ordered is not written: its row says as much.
pub async fn since<C: ConnectionTrait>(db: &C, id: &str, since: u64) -> Result<Vec<LogLine>, DbErr> {
    let Some(row) = job::by_id(db, id).await? else { return Ok(Vec::new()) };
    let queued = LogLine { n: 1, at_ms: row.created_ms, level: Level::Info, message: "queued".to_owned() };
    let lines = Entity::find()
        .filter(Column::Job.eq(row.seq))
        .filter(Column::N.gt(i64::try_from(since).unwrap_or(i64::MAX)))
        .order_by_asc(Column::N)
        .all(db)
        .await?;
    let is_written = lines.first().is_some_and(|line| line.n == 1);
    let lines = lines.into_iter().map(|line| LogLine {
        n: line.n as u64,
        at_ms: line.at_ms,
        level: level_named(&line.level),
        message: line.message,
    });
    Ok((since == 0 && !is_written).then_some(queued).into_iter().chain(lines).collect())
}

pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn level_named(name: &str) -> Level {
    match name {
        "warn" => Level::Warn,
        "error" => Level::Error,
        _ => Level::Info,
    }
}
