//! Into the queue and out of it: a new job's row, the heads of the queue, and the claim that makes one of them an attempt of
//! this boot. Leases are counters that their holder counts up: whoever waits for one to end watches it on its own monotonic
//! clock, so that no jump of a wall clock gives a job to two servers.

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{DatabaseTransaction, QueryOrder, QuerySelect};

use super::job::{self, ActiveModel, Column, Entity, Fence, Model};
use super::log::{self, Line};
use super::{Record, alias, avatar, found, is_collision, keep, kept, webhook};
use crate::crew::AvatarAsset;
use crate::desk::intake::avatar_of;
use crate::{
    AvatarName, Delivery, Ending, Failure, Level, Prepared, Source, State, SubjectSpec, TakeSpec, Work,
};

/// What a new order meets.
pub enum Met {
    Fresh,
    /// The same order was there.
    Known(String),
    /// Its idempotency key came with other work.
    Mismatch(String),
    /// So many jobs wait already.
    Full(u64),
    /// An upload that it names is gone.
    Missing(String),
    /// Its avatar is not there.
    NoAvatar(AvatarName),
    /// Another engine made its avatar.
    OtherEngine {
        avatar: AvatarName,
        made_by: String,
    },
    /// The asset that it pins is gone: its name stands for another.
    Replaced(AvatarName),
}

pub struct Ticket {
    pub row: ActiveModel,
    pub work: Work,
    /// The asset that the dialect wants.
    pub avatar: Option<Prepared>,
    pub webhook: Option<String>,
    pub queue_limit: u64,
    /// Since when an ended twin still counts, in milliseconds.
    pub attach_ms: i64,
    pub now_ms: i64,
}

/// Takes an order in, once: whoever loses a race at a unique index looks again and finds the winner's row.
pub async fn enter(record: &Record, ticket: &Ticket) -> Result<Met, DbErr> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_enter(record, ticket).await {
            Err(error) if is_collision(&error) && tries < 5 => {}
            outcome => return outcome,
        }
    }
}

async fn try_enter(record: &Record, ticket: &Ticket) -> Result<Met, DbErr> {
    let tx = record.begin().await?;
    if let Some(met) = earlier(&tx, ticket).await? {
        // with what it may have written of the key
        tx.commit().await?;
        return Ok(met);
    }
    let waiting = job::queued(&tx).await?;
    if waiting >= ticket.queue_limit {
        return Ok(Met::Full(waiting));
    }
    for key in stored_inputs(&ticket.work) {
        if !keep::touch_upload(&tx, key, ticket.now_ms).await? {
            return Ok(Met::Missing(key.to_owned()));
        }
    }
    let mut row = ticket.row.clone();
    if let Some(name) = avatar_of(&ticket.work) {
        let asset = match pin(&tx, name, ticket).await? {
            Ok(asset) => asset,
            Err(met) => return Ok(met),
        };
        row.avatar = Set(Some(kept(&asset)));
        row.avatar_key = Set(Some(asset.key));
    }
    let seq = insert(&tx, row, Line::info(ticket.now_ms, "queued")).await?;
    if let Some(url) = &ticket.webhook {
        let dialect = ticket.row.dialect.clone().unwrap();
        webhook::enter(&tx, (seq, &dialect, url), ticket.now_ms).await?;
    }
    tx.commit().await?;
    Ok(Met::Fresh)
}

/// A request that has failed before any work was made of it: told of like one that did.
pub async fn enter_failed(
    record: &Record,
    row: ActiveModel,
    (failure, webhook): (Failure, Option<&str>),
    now_ms: i64,
) -> Result<(), DbErr> {
    let tx = record.begin().await?;
    let dialect = row.dialect.clone().unwrap();
    let message = format!("failed: {}", failure.message);
    let row = ActiveModel {
        state: Set(State::Failed.name().to_owned()),
        ended_ms: Set(Some(now_ms)),
        ending: Set(Some(kept(&Ending::Failed(failure)))),
        ..row
    };
    let seq = insert(&tx, row, Line { at_ms: now_ms, level: Level::Error, message: &message }).await?;
    if let Some(url) = webhook {
        webhook::enter(&tx, (seq, &dialect, url), now_ms).await?;
    }
    tx.commit().await
}

/// The asset that the job will use: from here on it is held.
async fn pin(
    tx: &DatabaseTransaction,
    name: &AvatarName,
    ticket: &Ticket,
) -> Result<Result<AvatarAsset, Met>, DbErr> {
    let asset = match &ticket.avatar {
        Some(Prepared { key, engine, source_sha256 }) => {
            if !avatar::is_there(tx, name, key).await? {
                return Ok(Err(Met::Replaced(name.clone())));
            }
            AvatarAsset { key: key.clone(), engine: engine.clone(), source_sha256: source_sha256.clone() }
        }
        None => match avatar::asset(tx, name).await? {
            Some(asset) => asset,
            None => return Ok(Err(Met::NoAvatar(name.clone()))),
        },
    };
    if asset.engine != ticket.work.engine() {
        return Ok(Err(Met::OtherEngine { avatar: name.clone(), made_by: asset.engine }));
    }
    Ok(Ok(asset))
}

async fn earlier(tx: &DatabaseTransaction, ticket: &Ticket) -> Result<Option<Met>, DbErr> {
    let row = &ticket.row;
    let (dialect, owner) = (row.dialect.clone().unwrap(), row.owner.clone().unwrap());
    let same_door = || {
        Entity::find().filter(Column::Dialect.eq(dialect.as_str())).filter(Column::Owner.eq(owner.as_str()))
    };
    let key = row.idempotency.clone().unwrap();
    let name = key.as_deref().map(|key| (dialect.as_str(), owner.as_str(), key));
    if let Some(name) = name {
        let mut known = same_door().filter(Column::Idempotency.eq(name.2)).one(tx).await?;
        if known.is_none()
            && let Some(seq) = alias::find(tx, name).await?
        {
            known = Entity::find_by_id(seq).one(tx).await?;
        }
        match known {
            Some(known) if known.work_hash == *row.work_hash.as_ref() => {
                return Ok(Some(Met::Known(known.id)));
            }
            Some(_) => return Ok(Some(Met::Mismatch(name.2.to_owned()))),
            None => {}
        }
    }
    let Some(twin) = row.twin.clone().unwrap() else { return Ok(None) };
    let living = same_door().filter(Column::LivingTwin.eq(twin.as_str())).one(tx).await?;
    if let Some(living) = living {
        return joined(tx, name, living).await.map(Some);
    }
    let ended = same_door()
        .filter(Column::Twin.eq(twin.as_str()))
        .filter(Column::State.is_in([State::Done.name(), State::Failed.name()]))
        .order_by_desc(Column::Seq)
        .one(tx)
        .await?;
    // both ways: after the clock was set back, an end in the future is not recent for as long as the jump was
    let recent = |row: &Model| {
        row.ended_ms.is_some_and(|ended| ticket.now_ms.saturating_sub(ended).abs() < ticket.attach_ms)
    };
    match ended.filter(recent) {
        Some(ended) => joined(tx, name, ended).await.map(Some),
        None => Ok(None),
    }
}

/// A twin of others stands for the request from now on: its key finds that job even when the time of twins is over.
async fn joined(tx: &DatabaseTransaction, name: Option<alias::Name<'_>>, twin: Model) -> Result<Met, DbErr> {
    if let Some(name) = name {
        alias::add(tx, name, twin.seq).await?;
    }
    Ok(Met::Known(twin.id))
}

async fn insert(tx: &DatabaseTransaction, row: ActiveModel, line: Line<'_>) -> Result<i64, DbErr> {
    let row = ActiveModel { lines: Set(1), ..row };
    let seq = Entity::insert(row).exec(tx).await?.last_insert_id;
    log::write_drawn(tx, seq, line).await?;
    Ok(seq)
}

/// Keys of our own uploads that the work reads.
pub fn stored_inputs(work: &Work) -> Vec<&str> {
    work.sources()
        .filter_map(|source| match source {
            Source::Stored(key) => Some(key.as_str()),
            Source::Path(_) | Source::Url(_) | Source::S3(_) => None,
        })
        .collect()
}

/// The next jobs, in order.
pub async fn heads(record: &Record, count: u64) -> Result<Vec<Model>, DbErr> {
    job::in_order(job::queue()).limit(count).all(&record.read).await
}

#[expect(clippy::large_enum_variant, reason = "one a claim, moved once")]
pub enum Claimed {
    /// This attempt is ours, with the work and the asset it will use.
    Ours { attempt: i32, work: Work, deliver: Delivery, avatar: Option<AvatarAsset> },
    /// What the row says cannot be read, and why.
    Damaged(String),
    /// Canceled, or another server was faster.
    Gone,
}

/// Makes a queued job an attempt of `boot`.
pub async fn claim(record: &Record, row: &Model, (boot, now_ms): (&str, i64)) -> Result<Claimed, DbErr> {
    let (work, deliver, avatar) = match (row.work(), found(&row.deliver), row.avatar()) {
        (Ok(work), Ok(deliver), Ok(avatar)) => (work, deliver, avatar),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
            return Ok(Claimed::Damaged(error.to_string()));
        }
    };
    let tx = record.begin().await?;
    let attempt = row.attempt + 1;
    let change = ActiveModel {
        attempt: Set(attempt),
        boot: Set(Some(boot.to_owned())),
        litter: Set(true),
        started_ms: Set(Some(now_ms)),
        stage: Set(None),
        done: Set(0),
        of: Set(0),
        eta_ms: Set(None),
        ..Default::default()
    };
    let message = format!("running, attempt {attempt}");
    let line = Line::info(now_ms, &message);
    if !job::pass(&tx, (row.fence(), State::Queued, State::Running), change, line).await? {
        return Ok(Claimed::Gone);
    }
    tx.commit().await?;
    Ok(Claimed::Ours { attempt, work, deliver, avatar })
}

/// A live session's row, running from the start. `None`: its avatar is not there.
pub async fn begin_live(
    record: &Record,
    row: ActiveModel,
    take: &TakeSpec,
    now_ms: i64,
) -> Result<Option<(Fence, Option<AvatarAsset>)>, DbErr> {
    let tx = record.begin().await?;
    for key in stored_inputs(&Work::Take(take.clone())) {
        keep::touch_upload(&tx, key, now_ms).await?;
    }
    let avatar = match &take.subject {
        SubjectSpec::Avatar(name) => match avatar::asset(&tx, name).await? {
            Some(asset) => Some(asset),
            None => return Ok(None),
        },
        SubjectSpec::Picture(_)
        | SubjectSpec::Filling { .. }
        | SubjectSpec::Clip(_)
        | SubjectSpec::PictureOrClip(_) => None,
    };
    let row = ActiveModel { avatar_key: Set(avatar.as_ref().map(|asset| asset.key.clone())), ..row };
    let seq = insert(&tx, row, Line::info(now_ms, "live session begun")).await?;
    tx.commit().await?;
    Ok(Some((Fence { seq, attempt: 1 }, avatar)))
}

/// Running rows of other boots.
pub async fn of_others(record: &Record, boot: &str) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::State.eq(State::Running.name()))
        .filter(Column::Boot.ne(boot).or(Column::Boot.is_null()))
        .order_by_asc(Column::Seq)
        .all(&record.write)
        .await
}

/// Shows that this boot lives, and tells which rows it still holds, with whether somebody asked for their end.
pub async fn renew(record: &Record, boot: &str) -> Result<Vec<(Fence, bool)>, DbErr> {
    let mine = Column::State.eq(State::Running.name()).and(Column::Boot.eq(boot));
    Entity::update_many()
        .col_expr(Column::Beat, Expr::col(Column::Beat).add(1))
        .filter(mine.clone())
        .exec(&record.write)
        .await?;
    let rows: Vec<(i64, i32, bool)> = Entity::find()
        .filter(mine)
        .select_only()
        .column(Column::Seq)
        .column(Column::Attempt)
        .column(Column::Cancel)
        .into_tuple()
        .all(&record.write)
        .await?;
    Ok(rows.into_iter().map(|(seq, attempt, cancel)| (Fence { seq, attempt }, cancel)).collect())
}
