//! Out of the queue: its heads, and the claim that makes one of them an attempt of this boot. Leases are counters that their holder counts up: whoever waits for one to end watches it on its own monotonic
//! clock, so that no jump of a wall clock gives a job to two servers.

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{QueryOrder, QuerySelect};

use super::job::{self, ActiveModel, Column, Entity, Fence, Model};
use super::log::Line;
use super::{Record, avatar, found, keep};
use crate::crew::AvatarAsset;
use crate::{Delivery, Source, State, SubjectSpec, TakeSpec, Work};

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
    record.commit(tx).await?;
    record.line.left();
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
    let seq = job::insert(&tx, row, Line::info(now_ms, "live session begun")).await?;
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
