//! A job's row: the only truth about it, and its ticket in the queue.

use std::collections::{BTreeSet, HashMap};

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{QueryOrder, QuerySelect, QueryTrait, UpdateMany};

use super::line;
use super::log::Line;
use super::{Record, found, log, only, settle};
use crate::crew::AvatarAsset;
use crate::stored::stage_named;
use crate::{Ending, JobView, Listing, ProgressView, State, Work};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    /// Order of submission.
    #[sea_orm(primary_key)]
    pub seq: i64,
    pub id: String,
    pub dialect: String,
    pub owner: String,
    pub work: String,
    /// A live session: it has no ticket, and ends with its server.
    pub live: bool,
    pub deliver: String,
    pub note: String,
    pub work_hash: String,
    pub idempotency: Option<String>,
    pub twin: Option<String>,
    /// `twin` for as long as another order may join; `enter` keeps it unique per dialect and owner.
    pub living_twin: Option<String>,
    pub state: String,
    pub priority: i32,
    pub attempt: i32,
    /// Workers that it took with it.
    pub deaths: i32,
    /// Attempts that ran out of memory.
    pub shortages: i32,
    /// Somebody asked for its end while it ran.
    pub cancel: bool,
    /// An attempt may have left files that are nobody's.
    pub litter: bool,
    /// The boot of the server that runs it.
    pub boot: Option<String>,
    /// Counted up by that server while it lives.
    pub beat: i64,
    /// Key of `avatar`, until the job has ended.
    pub avatar_key: Option<String>,
    /// The asset that the work uses: pinned when it was ordered.
    pub avatar: Option<String>,
    pub created_ms: i64,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    pub stage: Option<String>,
    pub done: i64,
    pub of: i64,
    pub eta_ms: Option<i64>,
    pub ending: Option<String>,
    pub take_key: Option<String>,
    /// `None` when there is no file (any more).
    pub take_bytes: Option<i64>,
    /// Lines of its log.
    pub lines: i64,
    /// Not begun by then, it has failed.
    pub start_by_ms: Option<i64>,
    /// How long its take is kept after its end.
    pub keep_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a change expects to find; it changes nothing otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    pub seq: i64,
    pub attempt: i32,
}

impl Model {
    pub fn state(&self) -> Result<State, DbErr> {
        State::named(&self.state).ok_or_else(|| DbErr::Type(format!("`{}` is no state", self.state)))
    }

    pub fn fence(&self) -> Fence {
        Fence { seq: self.seq, attempt: self.attempt }
    }

    pub fn work(&self) -> Result<Work, DbErr> {
        found(&self.work)
    }

    pub fn avatar(&self) -> Result<Option<AvatarAsset>, DbErr> {
        self.avatar.as_deref().map(found).transpose()
    }

    /// It has killed a worker or run out of memory: it runs alone.
    pub fn is_suspect(&self) -> bool {
        self.deaths > 0 || self.shortages > 0
    }

    pub fn view(self, position: Option<u64>) -> Result<JobView, DbErr> {
        let state = self.state()?;
        let progress = self.stage.as_deref().and_then(stage_named).map(|stage| ProgressView {
            stage,
            done: self.done as u64,
            of: self.of as u64,
            eta_ms: self.eta_ms.map(|ms| ms as u64),
        });
        Ok(JobView {
            // a row that cannot be read is told of all the same: one of them must not hide the others
            work: if self.live { None } else { self.work().ok() },
            note: found(&self.note).unwrap_or_default(),
            ending: self
                .ending
                .as_deref()
                .map(|ending| found(ending).unwrap_or_else(|_: DbErr| Ending::Failed(settle::damaged()))),
            id: self.id,
            dialect: self.dialect,
            owner: self.owner,
            state,
            position,
            progress,
            created_ms: self.created_ms,
            started_ms: self.started_ms,
            ended_ms: self.ended_ms,
            attempt: self.attempt as u32,
        })
    }
}

/// A new row that has run nothing yet.
pub fn blank() -> ActiveModel {
    ActiveModel {
        live: Set(false),
        priority: Set(0),
        attempt: Set(0),
        deaths: Set(0),
        shortages: Set(0),
        cancel: Set(false),
        litter: Set(false),
        beat: Set(0),
        done: Set(0),
        of: Set(0),
        lines: Set(0),
        ..Default::default()
    }
}

/// A new row with the first line of its log. Its `seq`.
pub async fn insert<C: ConnectionTrait>(db: &C, row: ActiveModel, line: Line<'_>) -> Result<i64, DbErr> {
    let row = ActiveModel { lines: Set(1), ..row };
    let seq = Entity::insert(row).exec(db).await?.last_insert_id;
    log::write_numbered(db, (seq, 1), line).await?;
    Ok(seq)
}

/// A change of nothing yet.
pub fn unchanged() -> ActiveModel {
    Default::default()
}

/// The only way from one state to another. False: somebody else was faster, and nothing was changed.
pub async fn pass<C: ConnectionTrait>(
    db: &C,
    (fence, from, to): (Fence, State, State),
    change: ActiveModel,
    line: Line<'_>,
) -> Result<bool, DbErr> {
    assert!(from.may_become(to), "{from:?} does not become {to:?}");
    let mut change = ActiveModel { state: Set(to.name().to_owned()), ..change };
    if to != State::Running {
        change.boot = Set(None);
    }
    if to.is_terminal() {
        change.living_twin = Set(None);
        change.avatar_key = Set(None);
        change.ended_ms = Set(Some(line.at_ms));
    }
    let met = guarded(fence, from)
        .set(change)
        .col_expr(Column::Lines, Expr::col(Column::Lines).add(1))
        .exec(db)
        .await?;
    if met.rows_affected == 0 {
        return Ok(false);
    }
    log::write_drawn(db, fence.seq, line).await?;
    Ok(true)
}

fn guarded(fence: Fence, state: State) -> UpdateMany<Entity> {
    Entity::update_many()
        .filter(Column::Seq.eq(fence.seq))
        .filter(Column::State.eq(state.name()))
        .filter(Column::Attempt.eq(fence.attempt))
}

pub async fn by_id<C: ConnectionTrait>(db: &C, id: &str) -> Result<Option<Model>, DbErr> {
    only(db, Entity::find().filter(Column::Id.eq(id))).await
}

/// The row as it is now; on Postgres nobody else changes it before the transaction ends.
pub async fn held<C: ConnectionTrait>(db: &C, seq: i64) -> Result<Option<Model>, DbErr> {
    only(db, Entity::find_by_id(seq).lock_exclusive()).await
}

pub async fn view(record: &Record, id: &str, owner: Option<&str>) -> Result<Option<JobView>, DbErr> {
    let db = &record.read;
    let Some(row) = by_id(db, id).await? else { return Ok(None) };
    if owner.is_some_and(|owner| owner != row.owner) {
        return Ok(None);
    }
    let position = match row.state()? {
        State::Queued => Some(before(db, &row).await?),
        _ => None,
    };
    row.view(position).map(Some)
}

async fn before<C: ConnectionTrait>(db: &C, row: &Model) -> Result<u64, DbErr> {
    let earlier = Column::Priority.eq(row.priority).and(Column::Seq.lt(row.seq));
    queue().filter(Column::Priority.gt(row.priority).or(earlier)).count(db).await
}

/// Newest first.
pub async fn list(record: &Record, listing: &Listing) -> Result<Vec<JobView>, DbErr> {
    let db = &record.read;
    let rows = Entity::find()
        .apply_if(listing.dialect.as_deref(), |query, dialect| query.filter(Column::Dialect.eq(dialect)))
        .apply_if(listing.owner.as_deref(), |query, owner| query.filter(Column::Owner.eq(owner)))
        .apply_if(listing.state, |query, state| query.filter(Column::State.eq(state.name())))
        .order_by_desc(Column::Seq)
        .limit(u64::from(listing.limit))
        .all(db)
        .await?;
    let mut positions = HashMap::new();
    if rows.iter().any(|row| row.state == State::Queued.name()) {
        let order: Vec<i64> =
            in_order(queue()).select_only().column(Column::Seq).into_tuple().all(db).await?;
        positions = (0u64..).zip(order).map(|(position, seq)| (seq, position)).collect();
    }
    rows.into_iter()
        .map(|row| {
            let position = positions.get(&row.seq).copied();
            row.view(position)
        })
        .collect()
}

pub fn queue() -> Select<Entity> {
    Entity::find().filter(Column::State.eq(State::Queued.name()))
}

pub fn in_order(query: Select<Entity>) -> Select<Entity> {
    query.order_by_desc(Column::Priority).order_by_asc(Column::Seq)
}

pub async fn queued<C: ConnectionTrait>(db: &C) -> Result<u64, DbErr> {
    queue().count(db).await
}

/// The line as it is now, with those who may come back into it.
pub async fn line<C: ConnectionTrait>(db: &C) -> Result<line::Line, DbErr> {
    let lowest: Option<Option<i32>> = Entity::find()
        .filter(Column::State.is_in([State::Queued.name(), State::Running.name()]))
        .select_only()
        .column_as(Column::Priority.min(), "lowest")
        .into_tuple()
        .one(db)
        .await?;
    Ok(line::Line::new(queued(db).await?, lowest.flatten()))
}

/// Queued jobs that should have begun by now. One that began and was put back has kept its word.
pub async fn overdue<C: ConnectionTrait>(db: &C, now_ms: i64) -> Result<Vec<Model>, DbErr> {
    queue().filter(Column::StartByMs.lte(now_ms)).filter(Column::Attempt.eq(0)).all(db).await
}

/// When the next queued job will be.
pub async fn next_overdue<C: ConnectionTrait>(db: &C) -> Result<Option<i64>, DbErr> {
    let waiting = queue().filter(Column::StartByMs.is_not_null()).filter(Column::Attempt.eq(0));
    let next = waiting.order_by_asc(Column::StartByMs).one(db).await?;
    Ok(next.and_then(|row| row.start_by_ms))
}

/// Avatar assets that living jobs and sessions hold.
pub async fn assets_in_use<C: ConnectionTrait>(db: &C) -> Result<BTreeSet<String>, DbErr> {
    let keys: Vec<Option<String>> = Entity::find()
        .filter(Column::State.is_in([State::Queued.name(), State::Running.name()]))
        .filter(Column::AvatarKey.is_not_null())
        .select_only()
        .column(Column::AvatarKey)
        .into_tuple()
        .all(db)
        .await?;
    Ok(keys.into_iter().flatten().collect())
}

/// How far a running attempt is; an attempt that is not the newest changes nothing.
pub async fn tell_progress<C: ConnectionTrait>(
    db: &C,
    fence: Fence,
    progress: ProgressView,
) -> Result<(), DbErr> {
    let told = ActiveModel {
        stage: Set(Some(progress.stage.name().to_owned())),
        done: Set(progress.done as i64),
        of: Set(progress.of as i64),
        eta_ms: Set(progress.eta_ms.map(|ms| ms as i64)),
        ..Default::default()
    };
    guarded(fence, State::Running).set(told).exec(db).await?;
    Ok(())
}

pub enum Cancel {
    Now,
    /// It runs: whoever runs it is to be told.
    Asked,
    Late,
    Unknown,
}

pub async fn cancel(
    record: &Record,
    id: &str,
    owner: Option<&str>,
    (now_ms, ending): (i64, String),
) -> Result<Cancel, DbErr> {
    let tx = record.begin().await?;
    let Some(row) = by_id(&tx, id).await? else { return Ok(Cancel::Unknown) };
    let Some(row) = held(&tx, row.seq).await? else { return Ok(Cancel::Unknown) };
    if owner.is_some_and(|owner| owner != row.owner) {
        return Ok(Cancel::Unknown);
    }
    let answer = match row.state()? {
        State::Queued => {
            let change = ActiveModel { ending: Set(Some(ending)), ..Default::default() };
            let line = Line::info(now_ms, "canceled while it waited");
            if !pass(&tx, (row.fence(), State::Queued, State::Canceled), change, line).await? {
                return Ok(Cancel::Late);
            }
            record.commit(tx).await?;
            record.line.left();
            return Ok(Cancel::Now);
        }
        State::Running if row.cancel => Cancel::Asked,
        State::Running => {
            let asked = ActiveModel { cancel: Set(true), living_twin: Set(None), ..Default::default() };
            guarded(row.fence(), State::Running).set(asked).exec(&tx).await?;
            log::write(&tx, row.seq, Line::info(now_ms, "asked to stop")).await?;
            Cancel::Asked
        }
        State::Done | State::Failed | State::Canceled => Cancel::Late,
    };
    tx.commit().await?;
    Ok(answer)
}
