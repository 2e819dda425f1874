//! Into the queue: the rows of new orders, each taken in once.

use std::collections::BTreeSet;

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{DatabaseTransaction, QuerySelect};

use super::claim::stored_inputs;
use super::job::{self, ActiveModel, Column, Entity, Model};
use super::line::Entering;
use super::log::Line;
use super::ordered::{self, Ordered};
use super::settle::START_TIMEOUT;
use super::{Record, alias, avatar, found, is_collision, keep, kept, only, webhook};
use crate::crew::AvatarAsset;
use crate::desk::intake::avatar_of;
use crate::{AvatarName, Ending, Failure, Level, Prepared, State, Work, is_machine_fault};

/// What a new order meets.
pub enum Met {
    /// How many go before it, where that is known.
    Fresh { position: Option<u64> },
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
    OtherEngine { avatar: AvatarName, made_by: String },
    /// The asset that it pins is gone: its name stands for another.
    Replaced(AvatarName),
}

pub struct Ticket {
    pub row: Ordered,
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
        match enter_together(record, &[ticket]).await {
            Ok(met) => return Ok(met.into_iter().next().expect("one order meets one thing")),
            Err(Unentered::Collided(_)) if tries < 5 => {}
            Err(Unentered::Collided(error) | Unentered::Failed(error)) => return Err(error),
        }
    }
}

/// Why orders did not go in.
pub enum Unentered {
    /// One of them is another's twin, or has the key of another that came at the same time: none is in the record.
    Collided(DbErr),
    /// Nobody knows whether they are in it.
    Failed(DbErr),
}

impl From<DbErr> for Unentered {
    fn from(error: DbErr) -> Self {
        if is_collision(&error) { Self::Collided(error) } else { Self::Failed(error) }
    }
}

/// Takes orders in, in one transaction; of two that are one another's twins none goes in, and each has to come alone. What they
/// meet is committed in any case: an upload that one of them names is used once more then, and a key stands for the twin found.
pub async fn enter_together(record: &Record, tickets: &[&Ticket]) -> Result<Vec<Met>, Unentered> {
    let mut twins = BTreeSet::new();
    if !tickets.iter().filter_map(|ticket| ticket.row.twin()).all(|twin| twins.insert(twin)) {
        return Err(Unentered::Collided(DbErr::Custom("twins came at the same time".to_owned())));
    }
    let tx = record.begin().await?;
    if record.shared {
        // SQLite has one writer; elsewhere a twin may come to another server, and waits until this one is seen
        for twin in twins {
            ordered::lock(&tx, twin).await?;
        }
    }
    let familiar = familiar(&tx, tickets).await?;
    let (mut met, mut rows, mut entering) = (Vec::new(), Vec::new(), Vec::new());
    for ticket in tickets {
        let (row, place) = match arrive(&tx, record, (ticket, &familiar)).await? {
            Arrived::In(row, place) => (row, place),
            Arrived::Met(other) => {
                met.push(other);
                continue;
            }
        };
        met.push(Met::Fresh { position: place.position });
        rows.push(row);
        entering.push(place);
    }
    if !rows.is_empty() {
        ordered::insert(&tx, rows).await?;
        for (ticket, _) in tickets.iter().zip(&met).filter(|(_, met)| matches!(met, Met::Fresh { .. })) {
            let Some(url) = &ticket.webhook else { continue };
            let row = job::by_id(&tx, &ticket.row.id).await?;
            let seq = row.map(|row| row.seq).ok_or_else(|| DbErr::RecordNotInserted)?;
            webhook::enter(&tx, (seq, ticket.row.dialect, url), ticket.now_ms).await?;
        }
    }
    record.commit(tx).await.map_err(Unentered::Failed)?;
    entering.into_iter().for_each(Entering::entered);
    Ok(met)
}

enum Arrived<'a> {
    In(ordered::Entering<'a>, Entering<'a>),
    Met(Met),
}

async fn arrive<'a>(
    tx: &DatabaseTransaction,
    record: &'a Record,
    (ticket, familiar): (&'a Ticket, &BTreeSet<String>),
) -> Result<Arrived<'a>, DbErr> {
    if let Some(met) = earlier(tx, ticket, familiar).await? {
        return Ok(Arrived::Met(met));
    }
    if record.shared {
        let waiting = job::queued(tx).await?;
        if waiting >= ticket.queue_limit {
            return Ok(Arrived::Met(Met::Full(waiting)));
        }
    }
    // of a fleet's line this server sees a part: the record was asked above
    let limit = if record.shared { u64::MAX } else { ticket.queue_limit };
    let entering = match record.line.enter(ticket.row.priority, limit) {
        Ok(entering) => entering,
        Err(waiting) => return Ok(Arrived::Met(Met::Full(waiting))),
    };
    for key in stored_inputs(&ticket.work) {
        if !keep::touch_upload(tx, key, ticket.now_ms).await? {
            return Ok(Arrived::Met(Met::Missing(key.to_owned())));
        }
    }
    let asset = match avatar_of(&ticket.work) {
        Some(name) => match pin(tx, name, ticket).await? {
            Ok(asset) => Some(asset),
            Err(met) => return Ok(Arrived::Met(met)),
        },
        None => None,
    };
    let row = ordered::Entering {
        row: &ticket.row,
        avatar: asset.as_ref().map(kept),
        avatar_key: asset.map(|asset| asset.key),
    };
    Ok(Arrived::In(row, entering))
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
    let seq = job::insert(&tx, row, Line { at_ms: now_ms, level: Level::Error, message: &message }).await?;
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

/// Which of the orders' twins somebody has ordered before.
async fn familiar(tx: &DatabaseTransaction, tickets: &[&Ticket]) -> Result<BTreeSet<String>, DbErr> {
    let twins: Vec<&str> = tickets.iter().filter_map(|ticket| ticket.row.twin.as_deref()).collect();
    if twins.is_empty() {
        return Ok(BTreeSet::new());
    }
    let each = |name: fn(&Ordered) -> &str| -> Vec<&str> {
        let names: BTreeSet<&str> = tickets.iter().map(|ticket| name(&ticket.row)).collect();
        names.into_iter().collect()
    };
    let names = (each(|row| row.dialect), each(|row| &row.owner), twins);
    Ok(ordered::known_twins(tx, names).await?.into_iter().collect())
}

async fn earlier(
    tx: &DatabaseTransaction,
    ticket: &Ticket,
    familiar: &BTreeSet<String>,
) -> Result<Option<Met>, DbErr> {
    let row = &ticket.row;
    let (dialect, owner) = (row.dialect, row.owner.as_str());
    let same_door = || Entity::find().filter(Column::Dialect.eq(dialect)).filter(Column::Owner.eq(owner));
    let name = row.idempotency.as_deref().map(|key| (dialect, owner, key));
    if let Some(name) = name {
        let mut known = only(tx, same_door().filter(Column::Idempotency.eq(name.2))).await?;
        if known.is_none()
            && let Some(seq) = alias::find(tx, name).await?
        {
            known = only(tx, Entity::find_by_id(seq)).await?;
        }
        match known {
            Some(known) if known.work_hash == row.work_hash => {
                return Ok(Some(Met::Known(known.id)));
            }
            Some(_) => return Ok(Some(Met::Mismatch(name.2.to_owned()))),
            None => {}
        }
    }
    let Some(twin) = row.twin.as_ref().filter(|twin| familiar.contains(*twin)) else {
        return Ok(None);
    };
    let ended = Column::State.is_in([State::Done.name(), State::Failed.name()]);
    // one that lives is the last: nobody comes after it while others may join it
    let seqs: Vec<Option<i64>> = same_door()
        .filter(Column::Twin.eq(twin.as_str()))
        .filter(Column::LivingTwin.is_not_null().or(ended))
        .select_only()
        .column_as(Column::Seq.max(), "last")
        .into_tuple()
        .all(tx)
        .await?;
    let Some(last) = seqs.into_iter().flatten().next() else { return Ok(None) };
    let last = only(tx, Entity::find_by_id(last)).await?;
    // both ways: after the clock was set back, an end in the future is not recent for as long as the jump was
    let counts = |row: &Model| {
        let recent = |ended| ticket.now_ms.saturating_sub(ended).abs() < ticket.attach_ms;
        row.living_twin.is_some() || (row.ended_ms.is_some_and(recent) && !may_pass(row))
    };
    match last.filter(counts) {
        Some(last) => joined(tx, name, last).await.map(Some),
        None => Ok(None),
    }
}

/// A failure that says nothing about what was asked for: the same request, made again, may fare better.
fn may_pass(row: &Model) -> bool {
    let ending = row.ending.as_deref().and_then(|text| found::<Ending>(text).ok());
    matches!(ending, Some(Ending::Failed(failure)) if failure.code == START_TIMEOUT || is_machine_fault(&failure.code))
}

/// A twin of others stands for the request from now on: its key finds that job even when the time of twins is over.
async fn joined(tx: &DatabaseTransaction, name: Option<alias::Name<'_>>, twin: Model) -> Result<Met, DbErr> {
    if let Some(name) = name {
        alias::add(tx, name, twin.seq).await?;
    }
    Ok(Met::Known(twin.id))
}
